/**
 * A small language in which whole conversations of raft machines are written down and read again.
 *
 * A transcript is lines of text: comments behind `#`, commands behind `>`, and below a command what came of it, up to an
 * empty line. Everything that a machine asks for in `Ready`, every message where it arrives, and every change of role, term
 * and commit makes a line. `docs/raft.md` lists the commands.
 */
import { utf8Encode } from "../base/index.ts";
import type { Configuration, MemberId, MembershipChange, RaftStatus } from "./index.ts";
import { Machines } from "./machines.suite.ts";
import type { Site } from "./site.suite.ts";
import { configurationText, entryText, messageText, progressText, statusText } from "./wording.suite.ts";

/** The transcript again, with what comes of its commands now. */
export function replay(transcript: string): string {
  const interpreter = new Interpreter();
  const lines: string[] = [];
  for (const line of transcript.split("\n")) {
    if (line.startsWith(">")) lines.push(line, ...interpreter.run(line.slice(1)));
    else if (line.startsWith("#")) lines.push(line);
    else if (line === "" && lines.at(-1) !== "") lines.push("");
  }
  return lines.join("\n");
}

type Command = (words: readonly string[]) => void;

class Interpreter {
  #machines: Machines | undefined;
  #output: string[] = [];
  #quiet = false;
  readonly #said = new Map<string, string>();

  readonly #commands: Readonly<Record<string, Command>> = {
    cluster: (words) => this.#cluster(words),
    storage: ([id, ...words]) => this.#storage(this.#site(id), words),
    start: (ids) => this.#each(ids, ({ id }) => this.#all.start(id)),
    crash: ([ids, count]) =>
      this.#each([ids ?? ""], ({ id }) => this.#all.crash(id, count === undefined ? 0 : Number(count))),
    add: (ids) => {
      for (const id of ids.map(Number)) {
        this.#all.add(id);
        this.#all.start(id);
      }
    },
    random: ([id, value]) => {
      this.#site(id).random = () => Number(value);
    },
    tick: ([ids = "", count = "1"]) => {
      for (let left = Number(count); left > 0; left -= 1)
        this.#each([ids], ({ id }) => this.#step(id, { kind: "tick" }));
    },
    run: ([count]) => {
      for (let left = Number(count); left > 0; left -= 1) {
        this.#each(["all"], ({ id }) => this.#step(id, { kind: "tick" }));
        this.#settle();
      }
    },
    campaign: ([id]) => this.#campaign(this.#site(id)),
    propose: ([id, ...records]) => {
      this.#all.propose(this.#site(id).id, records.map(record));
    },
    read: ([id]) => {
      this.#all.read(this.#site(id).id);
    },
    change: ([id, ...words]) => {
      this.#all.change(this.#site(id).id, change(words));
    },
    transfer: ([id, to]) => this.#step(this.#site(id).id, { kind: "transfer", to: Number(to) }),
    unreachable: ([id, member]) => this.#step(this.#site(id).id, { kind: "unreachable", member: Number(member) }),
    trim: ([id, index]) => this.#all.trim(this.#site(id).id, Number(index)),
    release: ([id, index]) => this.#step(this.#site(id).id, { kind: "release", index: Number(index) }),
    write: ([id, count = "1"]) => this.#all.complete(this.#site(id).id, Number(count)),
    fetched: ([id]) => this.#all.fetched(this.#site(id).id),
    caughtUp: ([id]) => this.#all.caughtUp(this.#site(id).id),
    hold: ([id, ...what]) => this.#hold(this.#site(id), what, true),
    resume: ([id, ...what]) => this.#hold(this.#site(id), what, false),
    deliver: ([which, count]) => this.#take(which, count, (message) => this.#all.deliver(message)),
    drop: ([which, count]) => this.#take(which, count, (message) => this.#all.drop(message)),
    duplicate: ([which, count]) => this.#take(which, count, (message) => this.#all.receive(message)),
    // The last message on the way arrives before the others.
    overtake: ([which]) => {
      const message = this.#waiting(which).at(-1);
      if (message !== undefined) this.#all.deliver(message);
    },
    network: () => {
      for (const message of this.#all.network) this.#say(messageText(message));
    },
    cut: (words) => this.#cut(words),
    isolate: ([id]) => {
      for (const other of this.#all.sites.keys()) if (other !== Number(id)) this.#cut([String(other), id ?? ""]);
    },
    heal: () => this.#all.cuts.clear(),
    settle: () => this.#settle(),
    status: (ids) =>
      this.#each(ids.length > 0 ? ids : ["all"], ({ status }) => {
        this.#say(statusText(status));
        for (const line of progressText(status)) this.#say(line);
      }),
    log: (ids) => this.#each(ids.length > 0 ? ids : ["all"], (site) => this.#log(site)),
    // Until it leads, and the others know.
    elect: ([id]) => {
      this.#quiet = true;
      this.#campaign(this.#site(id));
      this.#settle();
    },
    // Only what has changed in the end.
    quietly: ([name = "", ...words]) => {
      this.#quiet = true;
      this.#command(name)(words);
    },
  };

  run(line: string): readonly string[] {
    this.#output = [];
    const [name = "", ...words] = line.match(/"[^"]*"|\S+/g) ?? [];
    try {
      this.#command(name)(words);
    } catch (error) {
      throw new Error(`> ${line.trim()}\n${this.#output.join("\n")}\n${String(error)}`, { cause: error });
    }
    this.#quiet = false;
    this.#sayChanges();
    return this.#output;
  }

  #command(name: string): Command {
    const command = this.#commands[name];
    if (command === undefined) throw new Error(`there is no command ${name}`);
    return command;
  }

  get #all(): Machines {
    if (this.#machines === undefined) throw new Error("a transcript begins with `cluster`");
    return this.#machines;
  }

  #site(id: string | undefined): Site {
    return this.#all.site(Number(id));
  }

  /** Of `all`: those that run. */
  #each(ids: readonly string[], act: (site: Site) => void): void {
    for (const id of ids) {
      const sites =
        id === "all" ? [...this.#all.sites.values()].filter(({ raft }) => raft !== undefined) : [this.#site(id)];
      for (const site of sites) {
        act(site);
        this.#sayChanges();
      }
    }
  }

  #say(line: string): void {
    this.#sayChanges();
    if (!this.#quiet) this.#output.push(line);
  }

  /** Who has another role, term, leader, commit or configuration than was said last. */
  #sayChanges(): void {
    if (this.#quiet) return;
    for (const { id, raft } of this.#machines?.sites.values() ?? []) {
      const status = raft?.status();
      this.#sayOnce(`${id} `, status === undefined ? `${id} is down` : describe(status));
      if (status !== undefined) this.#sayOnce(`${id} members`, `${id} has ${configurationText(status.configuration)}`);
    }
  }

  #sayOnce(topic: string, text: string): void {
    if (this.#said.get(topic) === text) return;
    this.#said.set(topic, text);
    this.#output.push(text);
  }

  /** `cluster 3`; or `voters=1,2 learners=3 expected=4 zones=1:a,2:b leaderZone=a`, ticks and limits; `stopped`. */
  #cluster(words: readonly string[]): void {
    const options = new Map(words.map((word) => word.split("=") as [string, string]));
    const numbers = (name: string) =>
      (options.get(name) ?? "").split(",").flatMap((text) => (text === "" ? [] : Number(text)));
    const count = Number(words[0]);
    const voters = Number.isNaN(count) ? numbers("voters") : Array.from({ length: count }, (_, at) => at + 1);
    const zones = new Map((options.get("zones") ?? "").split(",").map((pair) => pair.split(":") as [string, string]));
    const member = (id: number, voter: boolean, stays: boolean) => {
      const zone = zones.get(String(id)) ?? "";
      return { ...newcomer(id), zone, voter, stays, outgoing: false, leaving: false };
    };
    const configuration: Configuration = {
      members: [
        ...voters.map((id) => member(id, true, false)),
        ...numbers("learners").map((id) => member(id, false, true)),
      ],
      joint: false,
      removed: [],
      leaderZone: options.get("leaderZone") ?? "",
    };
    const limit = (name: string) => (options.has(name) ? { [name]: Number(options.get(name)) } : {});
    this.#said.clear();
    this.#machines = new Machines({
      seed: options.get("seed") ?? 1,
      raft: {
        heartbeatTicks: Number(options.get("heartbeatTicks") ?? 2),
        electionTicks: Number(options.get("electionTicks") ?? 10),
        limits: Object.assign(
          {},
          ...["messageSizeMax", "inFlightCountMax", "inFlightSizeMax", "uncommittedSizeMax", "readCountMax"].map(limit),
        ),
      },
      trace: (line) => {
        if (!this.#quiet) this.#output.push(line());
      },
    });
    for (const { id } of configuration.members) this.#all.add(id, configuration);
    if (!words.includes("stopped")) for (const { id } of configuration.members) this.#all.start(id);
    // Followers of term 0 with these members: nothing to say.
    for (const { id } of configuration.members)
      this.#sayOnce(`${id} members`, `${id} has ${configurationText(configuration)}`);
    this.#sayChanges();
    this.#output = [];
  }

  /** `storage 1 term=6 vote=1 commit=3 log=1,1,1,4`: what a stopped machine has, a term an entry. */
  #storage(site: Site, words: readonly string[]): void {
    const options = new Map(words.map((word) => word.split("=") as [string, string]));
    const terms = (options.get("log") ?? "").split(",").flatMap((text) => (text === "" ? [] : Number(text)));
    let position = 0;
    const entries = terms.map((term, at) => {
      // A term begins with an entry of no records.
      const records = term === terms[at - 1] ? [utf8Encode(`${at + 1}/${term}`)] : [];
      const size = records[0]?.length ?? 0;
      const made = { index: at + 1, term, position, records, size, configuration: undefined };
      const entry = this.#all.invariants.known(at + 1, term) ?? made;
      position += entry.records.length;
      return entry;
    });
    const commit = Number(options.get("commit") ?? 0);
    const term = Number(options.get("term") ?? terms.at(-1) ?? 0);
    site.durable.entries = entries;
    site.durable.state = { term, vote: Number(options.get("vote") ?? 0), commit };
    site.latest = site.durable.copy();
    this.#all.invariants.givenLog(entries);
    this.#all.invariants.given(entries.slice(0, commit));
  }

  #step(id: MemberId, event: Parameters<Machines["step"]>[1]): void {
    this.#all.step(id, event);
    this.#sayChanges();
  }

  /** Ticks until it wants to lead. */
  #campaign(site: Site): void {
    for (let count = 1; count <= 1_000; count += 1) {
      this.#step(site.id, { kind: "tick" });
      if (site.status.role === "preCandidate" || site.status.role === "candidate") return;
    }
    throw new Error(`machine ${site.id} does not campaign`);
  }

  #hold(site: Site, what: readonly string[], on: boolean): void {
    for (const name of what) {
      if (name !== "writes" && name !== "fetches" && name !== "catchUp") throw new Error(`nobody can hold ${name}`);
      if (on) site.held.add(name);
      else site.held.delete(name);
    }
  }

  /** `1->2`, `1->all`, `all->1` or `all`, or only messages of a kind: `1->2:append`. In the order of their sending. */
  #waiting(which = "all"): Machines["network"] {
    const [pair = "", kind] = which.split(":");
    const [from = "", to = from] = pair.split("->");
    return this.#all.network.filter(
      (message) => fits(from, message.from) && fits(to, message.to) && (kind === undefined || message.kind === kind),
    );
  }

  #take(
    which: string | undefined,
    count: string | undefined,
    act: (message: Machines["network"][number]) => void,
  ): void {
    const messages = this.#waiting(which);
    for (const message of messages.slice(0, count === undefined ? messages.length : Number(count))) {
      act(message);
      this.#flush();
    }
  }

  /** Does what needs no waiting: writes that are not held become durable. */
  #flush(): void {
    for (const site of this.#all.sites.values()) {
      while (site.raft !== undefined && site.outstanding.length > 0 && !site.held.has("writes"))
        this.#all.complete(site.id);
    }
    this.#sayChanges();
  }

  #settle(): void {
    for (let count = 0; this.#all.settleOne(); count += 1) {
      this.#sayChanges();
      if (count > 5_000) throw new Error("it does not come to rest");
    }
  }

  /** `1->2` one way, `1 2` both. */
  #cut([first = "", second]: readonly string[]): void {
    const [from = "", to = second] = first.split("->");
    this.#all.cut(Number(from), Number(to));
    if (second !== undefined) this.#all.cut(Number(to), Number(from));
  }

  #log({ id, latest, durable }: Site): void {
    const entries = latest.entries.map((entry) => {
      const isDurable = durable.termOf(entry.index) === entry.term;
      return `${entryText(entry)}${isDurable ? "" : " (not durable)"}`;
    });
    const { base } = latest;
    const trimmed =
      base.index === 0 ? "" : ` behind ${base.index}/${base.term} ${configurationText(base.configuration)}`;
    this.#say(`${id}${trimmed}: ${entries.join(", ")}`);
  }
}

function describe({ self, role, term, leader, commit }: RaftStatus): string {
  const follows = role === "leader" || leader === 0 ? "" : ` of ${leader}`;
  return `${self} is ${role}${follows}, term ${term}, commit ${commit}`;
}

const record = (text: string): Uint8Array =>
  /^\d+$/.test(text) ? new Uint8Array(Number(text)) : utf8Encode(text.replaceAll('"', ""));

const fits = (wanted: string, id: MemberId): boolean => wanted === "all" || wanted === String(id);

const newcomer = (id: number) => ({
  id,
  name: `m${id}`,
  address: `m${id}:1`,
  zone: "",
  voter: false,
  replaces: 0,
  stays: false,
});

/** `+4` puts a learner, `+4:voter:zone=b:replaces=2:stays:expected` says what else it is; `-2` removes; `zone=b`. */
function change(words: readonly string[]): MembershipChange {
  const put = words
    .filter((word) => word.startsWith("+"))
    .map((word) => {
      const [id, ...details] = word.slice(1).split(":");
      const member = newcomer(Number(id));
      for (const detail of details) {
        const [name, value = ""] = detail.split("=");
        if (name === "voter" || name === "stays") member[name] = true;
        else if (name === "replaces") member.replaces = Number(value);
        else if (name === "zone" || name === "name") member[name] = value;
        else if (name === "expected") member.address = "";
        else throw new Error(`nobody can be ${detail}`);
      }
      return member;
    });
  const remove = words.filter((word) => word.startsWith("-")).map((word) => Number(word.slice(1)));
  const zone = words.find((word) => word.startsWith("zone="))?.slice("zone=".length);
  return { put, remove, ...(zone !== undefined && { leaderZone: zone }) };
}

/**
 * How members with empty directories become one cluster, without anybody else who decides.
 *
 * Each knows the names and addresses of all (`--peers`), introduces itself to the others, and asks until either somebody
 * belongs to a cluster that was founded with this member's id, which it then adopts; or all have answered, none of them
 * belongs to one, and this member is the one to found: the one whose directory held a store, else the one with the
 * smallest name. Whoever founds or adopts makes that durable in its identity, and only then says so.
 *
 *  1. A member founds or adopts once: `cluster` in the identity is written once.
 *  2. The founder decides on answers to one round of questions, all asked after it last heard of an id that was new to
 *     it. Whoever got the answer "no cluster yet" from here has told its id here before: so of two members of which each
 *     knows the other's answer, at most one founds (docs/decisions/0012).
 *  3. What an id says of itself (name, names of the peers, whether it has data) never changes. Where the peers are may be
 *     corrected by starting again; nothing is founded while two members differ in that.
 *
 * After a crash: the identity says whether the cluster is founded; if it is not, everything begins anew with the same id.
 */
import { asHoldfastError, HoldfastError, sleep } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { memberOf } from "../../raft/index.ts";
import type { Configuration } from "../../raft/index.ts";
import { ClusterService } from "./cluster-service.ts";
import type { Hello, HelloRequest, Introduction } from "./cluster-service.ts";
import type { Identity } from "./identity.ts";
import { joinRemedy, lostDirectory } from "./refusals.ts";
import type { PeerClients } from "./peer-clients.ts";

export interface FoundingOptions {
  /** Waits for its cluster; durable. */
  readonly identity: Identity;
  /** Addresses by name, this member among them. */
  readonly peers: Readonly<Record<string, string>>;
  readonly clients: PeerClients;
  /** Makes an identity durable. */
  readonly save: (identity: Identity) => Promise<void>;
  /** The seed of the store that the directory held. */
  readonly seed?: Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told whenever it changes who is missing, and why. */
  readonly onWaiting: (names: readonly string[], reason: string) => void;
}

type Answer = { readonly name: string; readonly address: string } & (
  | { readonly hello: Hello; readonly self: Introduction }
  | { readonly error: HoldfastError }
);

const roundMs = 200;
const helloTimeoutMs = 1_000;

/** What a waiting member says of itself. */
export function introductionOf({ id, name, address, zone, peers, data }: Identity): Introduction {
  return { id, name, address, zone, peers, data };
}

export class Founding {
  readonly #env: Env;
  readonly #options: FoundingOptions;
  readonly #self: Introduction;
  /** By name, the id that was last heard. */
  readonly #ids = new Map<string, number>();
  /** Ids that claimed the name of a member that answers under another id. */
  readonly #impostors = new Set<number>();
  /** Counts the times when an id was new. */
  #news = 0;
  /** From the moment of the decision. */
  #deciding: Promise<Identity> | undefined;
  #told = "";

  constructor(env: Env, options: FoundingOptions) {
    this.#env = env;
    this.#options = options;
    const { identity, peers } = options;
    this.#self = { ...introductionOf(identity), peers: identity.peers.map((name) => `${name}=${peers[name] ?? ""}`) };
  }

  /** Answers a question while this member waits. Once it has decided, the answer waits until that is durable. */
  async hello({ caller }: HelloRequest): Promise<{ readonly self: Introduction; readonly identity: Identity }> {
    if (caller !== undefined && caller.id > 0) this.#hear(caller);
    const identity = this.#deciding === undefined ? this.#options.identity : await this.#deciding;
    return { self: this.#self, identity };
  }

  #hear({ id, name, address }: Introduction): void {
    const { name: ownName, id: ownId } = this.#self;
    const another = name === ownName && id !== ownId ? this.#self.address : undefined;
    if (another !== undefined || this.#impostors.has(id)) {
      const where = another ?? this.#options.peers[name] ?? "";
      throw new HoldfastError(
        "exists",
        `there is a member ${name} at ${where} already: the one at ${address} needs another name`,
      );
    }
    this.#learn(name, id);
  }

  #learn(name: string, id: number): void {
    if (this.#ids.get(name) === id) return;
    this.#ids.set(name, id);
    this.#news++;
  }

  /** Resolves with the member's identity in its cluster, which is durable. */
  async run(): Promise<Identity> {
    const { clock, logger } = this.#env;
    for (;;) {
      const news = this.#news;
      const answers = await this.#ask();
      const formed = answers.find((answer) => "hello" in answer && answer.hello.cluster.length > 0);
      if (formed !== undefined && "hello" in formed) {
        this.#deciding = this.#save(this.#adopted(formed.address, formed.hello));
      } else if (this.#allReady(answers) && this.#unchanged(news, answers)) {
        const founder = this.#founder(answers);
        if (founder === this.#self.name) this.#deciding = this.#save(this.#founded(answers));
        else this.#tell([founder], "it founds the cluster");
      }
      if (this.#deciding !== undefined) {
        const identity = await this.#deciding;
        logger.log("info", `member ${identity.name} belongs to its cluster now`, { id: identity.id });
        return identity;
      }
      await sleep(clock, roundMs, this.#options.signal);
    }
  }

  async #save(identity: Identity): Promise<Identity> {
    await this.#options.save(identity);
    return identity;
  }

  /** Asks everybody else, all at once. */
  #ask(): Promise<Answer[]> {
    const { peers, clients, signal } = this.#options;
    const others = Object.entries(peers).filter(([name]) => name !== this.#self.name);
    return Promise.all(
      others.map(async ([name, address]): Promise<Answer> => {
        try {
          const stub = clients.at(address).use(ClusterService);
          const call = { timeoutMs: helloTimeoutMs, ...(signal !== undefined && { signal }) };
          const hello = await stub.hello({ caller: this.#self }, call);
          const { self } = hello;
          if (self === undefined) throw new HoldfastError("corrupt", `${address} answers without saying who it is`);
          return { name, address, hello, self };
        } catch (error) {
          return { name, address, error: asHoldfastError(error) };
        }
      }),
    );
  }

  /** Whether everybody has answered and may be founded with. Throws where waiting would not help. */
  #allReady(answers: readonly Answer[]): boolean {
    const missing: string[] = [];
    let reason = "they do not answer yet";
    for (const answer of answers) {
      const { name, address } = answer;
      if ("error" in answer) {
        if (answer.error.code === "exists" || answer.error.code === "denied") throw answer.error;
        missing.push(name);
        continue;
      }
      const { self } = answer;
      if (self.name !== name) {
        throw new HoldfastError(
          "invalid",
          `the member at ${address} is named ${self.name}, not ${name}: give each member its own name and address in --peers`,
        );
      }
      if (self.id > 0 && self.peers.length > 0 && self.peers.join() !== this.#self.peers.join()) {
        throw new HoldfastError(
          "invalid",
          `member ${this.#self.name} is to found a cluster of ${this.#self.peers.join(", ")}, but member ${name} one of ${self.peers.join(", ")}: start all with the same --peers`,
        );
      }
      if (self.id > 0 && self.peers.length > 0) continue;
      missing.push(name);
      reason =
        self.id > 0
          ? `${name} wants to join a cluster: start it with --peers`
          : `${name} runs on its own: start it with --peers`;
    }
    if (missing.length > 0) this.#tell(missing, reason);
    return missing.length === 0;
  }

  /** Whether the answers are those of the members last heard of, and nobody new was heard meanwhile. */
  #unchanged(news: number, answers: readonly Answer[]): boolean {
    const heardMeanwhile = this.#news !== news;
    for (const answer of answers) {
      if (!("self" in answer)) continue;
      const { name, id } = answer.self;
      const claimed = this.#ids.get(name);
      // Asked after somebody else had claimed the name, the address still answers with its own id: those are two.
      if (!heardMeanwhile && claimed !== undefined && claimed !== id) this.#impostors.add(claimed);
      this.#learn(name, id);
    }
    return this.#news === news;
  }

  #founder(answers: readonly Answer[]): string {
    const all = [this.#self, ...answers.flatMap((answer) => ("self" in answer ? [answer.self] : []))];
    const withData = all.filter(({ data }) => data).map(({ name }) => name);
    if (withData.length > 1) {
      throw new HoldfastError(
        "invalid",
        `${withData.toSorted().join(" and ")} each have a store in their directories; a cluster can go on from one of them: start the others in empty directories`,
      );
    }
    const [first = this.#self.name] = withData.length > 0 ? withData : all.map(({ name }) => name).toSorted();
    return first;
  }

  #founded(answers: readonly Answer[]): Identity {
    const { identity, peers, seed } = this.#options;
    const all = [this.#self, ...answers.flatMap((answer) => ("self" in answer ? [answer.self] : []))];
    const members = all.map(({ id, name, address, zone }) => ({
      id,
      name,
      address: address === "" ? (peers[name] ?? "") : address,
      zone,
      // Where there is a store to go on from, only its owner may decide anything until the others have it.
      voter: !identity.data || id === identity.id,
      outgoing: false,
      leaving: false,
      replaces: 0,
      stays: false,
    }));
    const founding: Configuration = {
      members: members.toSorted((a, b) => a.id - b.id),
      joint: false,
      removed: [],
      leaderZone: "",
    };
    const { random } = this.#env;
    return { ...identity, cluster: random.bytes(16), seed: seed ?? random.bytes(16), founding };
  }

  #adopted(address: string, { cluster, seed, founding, present, removed, self }: Hello): Identity {
    const { identity } = this.#options;
    const { id, name, data } = identity;
    const other = self?.name ?? address;
    const known = [...(founding?.members ?? []), ...(present?.members ?? [])];
    if (removed) throw new HoldfastError("denied", `member ${name} was removed from the cluster of ${other}`);
    if (founding === undefined || memberOf(founding, id) === undefined) {
      if (known.some((member) => member.name === name && member.id !== id)) throw lostDirectory(name, address);
      throw new HoldfastError(
        "denied",
        `${other} at ${address} belongs to a cluster that does not know member ${name}; ${joinRemedy(name, address)}`,
      );
    }
    if (data) {
      throw new HoldfastError(
        "exists",
        `the directory of member ${name} holds a store of its own, and ${other} has founded the cluster without it: start ${name} in an empty directory`,
      );
    }
    return { ...identity, cluster, seed, founding };
  }

  #tell(names: readonly string[], reason: string): void {
    const text = `${names.join()} ${reason}`;
    if (text === this.#told) return;
    this.#told = text;
    this.#options.onWaiting(names, reason);
  }
}

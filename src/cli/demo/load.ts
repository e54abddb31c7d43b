/**
 * The load of the demo: several clients, each connected for itself, that put keys, count and read at once, and a watch
 * that sees all of it. What they asked for and what they were told goes to the `Ledger`.
 *
 * A client does not repeat what failed: it goes on with its next operation, so that everything that happens twice was
 * doubled by the store or by the client library.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { HoldfastError } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { connectStore } from "../../member/index.ts";
import type { Store } from "../../member/index.ts";
import { Ledger, valueOf } from "./ledger.ts";
import type { Account, Fate, FoundKey } from "./ledger.ts";
import { until } from "./until.ts";

export interface LoadOptions {
  /** Addresses of the members, separated by commas. */
  readonly endpoints: string;
  readonly clientCount: number;
  /** Operations a second, over all clients, at most. */
  readonly opsPerSecond: number;
}

const prefix = "demo/";
const endKey = `${prefix}end`;
/** Puts that each client has under way at once. */
const lanesPerClient = 4;
/** After a failure a client waits a moment, as a program would. */
const backOffMs = 20;
const readEveryMs = 10;

interface Client {
  readonly name: string;
  readonly store: Store;
  /** Calls under way, and since when the client waits for an acknowledgement; undefined while it has not asked. */
  underway: number;
  waitsSinceMs: number | undefined;
  /** Of the last acknowledgement. */
  ackedMs: number;
}

export class Load {
  readonly ledger = new Ledger();
  /** What clients were told, by error code, with one message each. */
  readonly failures = new Map<string, { count: number; message: string }>();
  readonly #pacer: Pacer;
  readonly #clients: readonly Client[];
  readonly #watcher: Store;
  readonly #watchEnding = new AbortController();
  readonly #work: Promise<unknown>[] = [];
  #watchDone = false;
  #stopping = false;
  #gapMs = 0;
  #longestMs = 0;
  #trouble: unknown;

  private constructor(clients: readonly Client[], watcher: Store, pacer: Pacer) {
    this.#clients = clients;
    this.#watcher = watcher;
    this.#pacer = pacer;
  }

  static async start(env: Env, { endpoints, clientCount, opsPerSecond }: LoadOptions): Promise<Load> {
    const open: Store[] = [];
    const connected = async () => {
      const store = await connectStore(env, endpoints, { waitForMember: true });
      open.push(store);
      return store;
    };
    try {
      const clients: Client[] = [];
      for (let number = 1; number <= clientCount; number++) {
        clients.push({
          name: `client-${number}`,
          store: await connected(),
          underway: 0,
          waitsSinceMs: undefined,
          ackedMs: 0,
        });
      }
      const watcher = await connected();
      const from = (await watcher.keys.revision()) + 1;
      const load = new Load(clients, watcher, new Pacer(opsPerSecond));
      load.#begin(from);
      return load;
    } catch (error) {
      await Promise.allSettled(open.map((store) => store.close()));
      throw error;
    }
  }

  /** What went wrong that no failure of a member explains. */
  get trouble(): unknown {
    return this.#trouble;
  }

  /** The longest time, so far, that a client waited for its next acknowledgement. */
  get longestPauseMs(): number {
    return Math.max(this.#longestMs, this.#waitingMs());
  }

  /** The same since this was last asked. */
  takePauseMs(): number {
    const ms = Math.max(this.#gapMs, this.#waitingMs());
    this.#gapMs = 0;
    return ms;
  }

  /** Whether every client has had an acknowledgement since then. */
  hasGoneOnSince(momentMs: number): boolean {
    return this.#clients.every(({ ackedMs }) => ackedMs > momentMs);
  }

  /** Ends the load, waits until the watch has seen the end, reads everything back, and compares. */
  async finish(signal: AbortSignal): Promise<Account> {
    this.#stopping = true;
    await Promise.all(this.#work);
    await this.#watcher.keys.put(endKey, "");
    const told = () => this.#watchDone || this.#trouble !== undefined;
    await until("the watch has not given the last event", told, signal);
    if (this.#trouble !== undefined) throw this.#trouble;
    const found: FoundKey[] = [];
    for await (const record of this.#watcher.keys.list({ prefix, signal })) {
      if (record.key !== endKey) found.push({ key: record.key, text: record.text(), version: record.version });
    }
    return this.ledger.account(found);
  }

  async close(): Promise<void> {
    this.#stopping = true;
    this.#watchEnding.abort();
    await Promise.allSettled([...this.#clients.map(({ store }) => store.close()), this.#watcher.close()]);
  }

  #begin(from: number): void {
    for (const client of this.#clients) {
      for (let lane = 1; lane <= lanesPerClient; lane++) this.#work.push(this.#put(client, lane));
      this.#work.push(this.#increment(client), this.#read(client));
    }
    void this.#watch(from);
  }

  async #put(client: Client, lane: number): Promise<void> {
    for (let number = 1; await this.#goesOn(); number++) {
      const key = `${prefix}${client.name}/put/${lane}-${number}`;
      this.ledger.putBegan(key);
      this.ledger.putEnded(key, await this.#fateOf(client, client.store.keys.put(key, valueOf(key))));
    }
  }

  async #increment(client: Client): Promise<void> {
    const key = counterOf(client);
    while (await this.#goesOn()) {
      this.ledger.incrementBegan(key);
      const done = client.store.transaction(async (tx) => {
        tx.keys.put(key, String(Number((await tx.keys.get(key))?.text() ?? 0) + 1));
      });
      this.ledger.incrementEnded(key, await this.#fateOf(client, done));
    }
  }

  /** Reads the counter of the next client: what that one was told to be done, everybody must see. */
  async #read(client: Client): Promise<void> {
    const next = this.#clients[(this.#clients.indexOf(client) + 1) % this.#clients.length] ?? client;
    const key = counterOf(next);
    while (!this.#stopping) {
      const least = this.ledger.acknowledgedOf(key);
      try {
        const record = await client.store.keys.get(key);
        this.ledger.sawCounter(Number(record?.text() ?? 0), least);
      } catch (error) {
        this.#note(error);
      }
      await sleep(readEveryMs);
    }
  }

  async #watch(from: number): Promise<void> {
    try {
      for await (const event of this.#watcher.keys.watch({ prefix, from, signal: this.#watchEnding.signal })) {
        if (event.key === endKey) break;
        this.ledger.sawEvent(event.key, event.type === "put" ? event.record.text() : "", event.revision);
      }
      this.#watchDone = true;
    } catch (error) {
      if (!this.#watchEnding.signal.aborted) this.#trouble ??= error;
    }
  }

  async #goesOn(): Promise<boolean> {
    if (this.#stopping) return false;
    await this.#pacer.turn();
    return !this.#stopping;
  }

  async #fateOf(client: Client, call: Promise<unknown>): Promise<Exclude<Fate, "underway">> {
    client.underway++;
    client.waitsSinceMs ??= performance.now();
    try {
      await call;
      client.underway--;
      const nowMs = performance.now();
      const gapMs = nowMs - client.waitsSinceMs;
      client.waitsSinceMs = client.underway > 0 ? nowMs : undefined;
      client.ackedMs = nowMs;
      this.#gapMs = Math.max(this.#gapMs, gapMs);
      this.#longestMs = Math.max(this.#longestMs, gapMs);
      return "acknowledged";
    } catch (error) {
      // A failure ends no pause: the client asks again.
      client.underway--;
      const maybe = this.#note(error);
      if (!this.#stopping) await sleep(backOffMs);
      return maybe ? "unknown" : "refused";
    }
  }

  /** Notes what a client was told; true when it may have happened. */
  #note(error: unknown): boolean {
    const known = error instanceof HoldfastError;
    if (!known) this.#trouble ??= error;
    const code = known ? error.code : "internal";
    const message = error instanceof Error ? error.message : String(error);
    const noted = this.failures.get(code) ?? { count: 0, message };
    noted.count++;
    this.failures.set(code, noted);
    return !known || error.maybe;
  }

  #waitingMs(): number {
    if (this.#stopping) return 0;
    const nowMs = performance.now();
    return Math.max(0, ...this.#clients.map(({ waitsSinceMs }) => nowMs - (waitsSinceMs ?? nowMs)));
  }
}

function counterOf(client: Client): string {
  return `${prefix}${client.name}/count`;
}

/** Turns at an even pace. After a pause nobody makes up for what was missed. */
class Pacer {
  readonly #everyMs: number;
  #nextMs = 0;

  constructor(perSecond: number) {
    this.#everyMs = 1_000 / perSecond;
  }

  async turn(): Promise<void> {
    const nowMs = performance.now();
    const atMs = Math.max(nowMs, this.#nextMs);
    this.#nextMs = atMs + this.#everyMs;
    // A timer counts whole milliseconds; what is due within one is due.
    if (atMs - nowMs >= 1) await sleep(atMs - nowMs);
  }
}

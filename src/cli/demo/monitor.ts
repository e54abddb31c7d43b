/** What one member says of itself, asked four times a second over a connection of its own. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Env } from "../../base/index.ts";
import { connectStore } from "../../member/index.ts";
import type { MemberList, Store, StoreStatus } from "../../member/index.ts";

const everyMs = 250;

export interface Report {
  readonly status: StoreStatus;
  readonly list: MemberList;
}

export class Monitor {
  readonly #env: Env;
  readonly #name: string;
  readonly #address: string;
  readonly #ending = new AbortController();
  readonly #done: Promise<void>;
  #store: Store | undefined;
  #report: Report | undefined;

  constructor(env: Env, name: string, address: string) {
    this.#env = env;
    this.#name = name;
    this.#address = address;
    this.#done = this.#run();
  }

  /** The last thing that it said; undefined while it does not answer. */
  get report(): Report | undefined {
    return this.#report;
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await this.#store?.close();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        const store =
          this.#store ?? (await connectStore(this.#env, this.#address, { timeoutMs: 1_000, followMembers: false }));
        this.#store = store;
        const status = await store.status();
        const list = await store.members.list();
        // The client moves on to another member when this one does not answer.
        if (status.name === this.#name) this.#report = { status, list };
        else await this.#drop();
      } catch {
        await this.#drop();
      }
      await sleep(everyMs, undefined, { signal }).catch(() => {});
    }
    await this.#drop();
  }

  async #drop(): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    this.#report = undefined;
    await store?.close().catch(() => {});
  }
}

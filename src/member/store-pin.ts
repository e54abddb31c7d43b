/**
 * Which store a client talks to. The first that it learns of stays its own; a member with another store is not used: one
 * whose data directory was lost, say, and that was started again as a new store at the old address.
 *
 * 1. No call goes out on a connection before its member has said which store it has. That is one small call a connection.
 * 2. The first member is believed if nobody else was named, or if it is of a cluster to which most of the given addresses
 *    belong. Else all of these are asked, for half a second, and the store is the one that most of those have who
 *    answer; between equals a cluster goes before a store on its own.
 */
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { RpcClient } from "../rpc/index.ts";
import type { CheckedServer } from "../rpc/index.ts";
import { ClusterService } from "./cluster/cluster-service.ts";
import type { MemberList } from "./cluster/members.ts";

const askOthersMs = 500;

export class StorePin {
  readonly #env: Env;
  readonly #given: readonly string[];
  readonly #ending = new AbortController();
  #store: string | undefined;
  #choosing: Promise<void> | undefined;

  /** `given`: the addresses that the user named. */
  constructor(env: Env, given: readonly string[]) {
    this.#env = env;
    this.#given = given;
  }

  /** For `RpcClient`. Rejects with `invalid`, naming the address, when the store there is another. */
  async check(server: CheckedServer): Promise<void> {
    const said = await ask(server);
    const { store } = said;
    if (this.#store === undefined && store !== "") {
      this.#choosing ??= this.#choose(server.address, said);
      await this.#choosing;
    }
    if (this.#store === undefined || this.#store === store) return;
    throw new HoldfastError(
      "invalid",
      `the member at ${server.address} has another store than the one that this client works with: its data directory was lost or exchanged; replace the member, or connect anew to work with that store`,
    );
  }

  async #choose(address: string, first: MemberList): Promise<void> {
    const answers = [first];
    if (!this.#isEnough(first)) {
      const others = this.#given.filter((other) => other !== address);
      answers.push(...(await Promise.all(others.map((other) => this.#askAt(other)))).flat());
    }
    const counts = new Map<string, number>();
    for (const { store, cluster } of answers) {
      if (store !== "") counts.set(store, (counts.get(store) ?? 0) + (cluster === "" ? 1 : 1.5));
    }
    const [best] = [...counts].toSorted(([, a], [, b]) => b - a);
    this.#store = best?.[0];
  }

  #isEnough({ cluster, members }: MemberList): boolean {
    const listed = new Set(members.map((member) => member.address));
    const known = this.#given.filter((address) => listed.has(address));
    return this.#given.length === 1 || (cluster !== "" && known.length > this.#given.length / 2);
  }

  /** Empty when there is no answer. */
  async #askAt(address: string): Promise<MemberList[]> {
    const client = new RpcClient(this.#env, address, { callTimeoutMs: askOthersMs });
    try {
      const { signal } = this.#ending;
      return [await client.use(ClusterService).list({ direct: true }, { signal })];
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return [];
    } finally {
      await client.close();
    }
  }

  async close(): Promise<void> {
    this.#ending.abort(new HoldfastError("cancelled", "the client is closed"));
    await this.#choosing;
  }
}

/** A server that does not know the question has no store to name. */
async function ask(server: CheckedServer): Promise<MemberList> {
  try {
    return await server.use(ClusterService).list({ direct: true });
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
    return { members: [], leaderZone: "", term: 0, leader: 0, cluster: "", store: "" };
  }
}

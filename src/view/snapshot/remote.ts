/**
 * Snapshots of a replica elsewhere. Reads are repeated, on another member where there is one; a comparison goes on behind
 * what it has given: where it compares with the present state, the rest is of a later one.
 */
import { compareBytes, HoldfastError, utf8Encode } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import type { RpcClient, Stub } from "../../rpc/index.ts";
import type { CommandOutcome, Operation, ProposeOptions, Proposer } from "../command.ts";
import { toFreshness } from "../freshness-message.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { RemoteCalls, RemoteStream, unchanging } from "../remote-calls.ts";
import type { RemoteOptions } from "../remote-calls.ts";
import { fromNamed, fromWire, SnapshotService } from "./service.ts";
import type { Difference, DiffQuery, NamedSnapshot, SnapshotSource } from "./snapshot-source.ts";

export class RemoteSnapshots implements SnapshotSource {
  readonly #calls: RemoteCalls;
  readonly #stub: Stub<(typeof SnapshotService)["methods"]>;
  readonly #proposer: Proposer;

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, proposer: Proposer, options: RemoteOptions) {
    this.#calls = new RemoteCalls(env, client, options);
    this.#stub = client.use(SnapshotService);
    this.#proposer = proposer;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#proposer.propose(operations, options);
  }

  async snapshots(options: ReadOptions): Promise<readonly NamedSnapshot[]> {
    return this.#calls.repeated(options.signal, async (callOptions) => {
      const all: NamedSnapshot[] = [];
      const request = { freshness: toFreshness(options, undefined) };
      for await (const { snapshots } of this.#stub.list(request, callOptions)) {
        all.push(...snapshots.map(fromNamed));
      }
      return all;
    });
  }

  async *diff(query: DiffQuery, options: ReadOptions): AsyncGenerator<readonly Difference[], void, undefined> {
    const { before, after } = query;
    // Two pinned states do not change: whoever has both will do.
    const at = after === undefined ? undefined : Math.max(before, after);
    const request = { ...query, freshness: toFreshness(options, at) };
    let last: Difference | undefined;
    let call = this.#calls.begin(options.signal);
    for (;;) {
      const stream = new RemoteStream(this.#calls.clock, options.signal, (callOptions) =>
        this.#stub.diff(request, callOptions),
      );
      try {
        for (;;) {
          const batch = await stream.next(call.attemptMs);
          if (batch === undefined) return;
          const all = batch.differences.map(fromWire).filter((one) => one !== undefined);
          const rest = all.filter((one) => last === undefined || comesBefore(last, one));
          if (rest.length > 0) yield rest;
          last = rest.at(-1) ?? last;
          call = this.#calls.begin(options.signal);
        }
      } catch (error) {
        if (!(error instanceof HoldfastError) || !call.passes(error)) throw unchanging(error);
        await call.again(error, false);
      } finally {
        stream.end();
      }
    }
  }
}

/** Keys come before files; keys and files in the order of their places in the tree. */
function comesBefore(a: Difference, b: Difference): boolean {
  if (a.type === "key") return b.type === "file" || compareBytes(a.key, b.key) < 0;
  if (b.type === "key") return false;
  const order = compareBytes(utf8Encode(a.bucket), utf8Encode(b.bucket));
  return order === 0 ? compareBytes(a.path, b.path) < 0 : order < 0;
}

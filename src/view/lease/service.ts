/** Reads of leases over the network: both halves. */
import { bool, bytes, embed, HoldfastError, message, repeated, uint64, uint64Big } from "../../base/index.ts";
import type { Env } from "../../base/index.ts";
import { contract, implement, serverStream, unary } from "../../rpc/index.ts";
import type { RpcClient, Service, Stub } from "../../rpc/index.ts";
import type { CommandOutcome, Operation, ProposeOptions, Proposer } from "../command.ts";
import { RemoteCalls, RemoteStream, unchanging } from "../remote-calls.ts";
import type { RemoteOptions } from "../remote-calls.ts";
import type { LeaseInfo, LeaseSource } from "./leases.ts";

const InfoRequest = message("holdfast.lease.InfoRequest", { id: uint64Big(1), keys: bool(2) });
const Info = message("holdfast.lease.Info", {
  id: uint64Big(1),
  ttlMs: uint64(2),
  remainingMs: uint64(3),
  keys: repeated(bytes(4)),
});
const InfoResponse = message("holdfast.lease.InfoResponse", { info: embed(1, Info) });
const ListRequest = message("holdfast.lease.ListRequest", {});

export const LeaseService = contract("holdfast.lease.Leases", {
  info: unary(1, InfoRequest, InfoResponse),
  list: serverStream(2, ListRequest, Info),
});

export function leaseService(source: LeaseSource): Service {
  return implement(LeaseService, {
    async info({ id, keys }, { signal }) {
      return { info: whole(await source.info(id, keys, signal)) };
    },
    async *list(_, { signal }) {
      for await (const info of source.list(signal)) yield whole(info) as LeaseInfo;
    },
  });
}

/** The wire has whole milliseconds. */
function whole(info: LeaseInfo | undefined): LeaseInfo | undefined {
  return info === undefined ? undefined : { ...info, remainingMs: Math.round(info.remainingMs) };
}

export class RemoteLeases implements LeaseSource {
  readonly #calls: RemoteCalls;
  readonly #stub: Stub<(typeof LeaseService)["methods"]>;
  readonly #proposer: Proposer;

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, proposer: Proposer, options: RemoteOptions) {
    this.#calls = new RemoteCalls(env, client, options);
    this.#stub = client.use(LeaseService);
    this.#proposer = proposer;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#proposer.propose(operations, options);
  }

  async info(id: bigint, keys: boolean, signal: AbortSignal | undefined): Promise<LeaseInfo | undefined> {
    return (await this.#calls.repeated(signal, (options) => this.#stub.info({ id, keys }, options))).info;
  }

  /** In the order of ids, each once. Where it had to begin again, those behind are of a later state. */
  async *list(signal: AbortSignal | undefined): AsyncGenerator<LeaseInfo, void, undefined> {
    let last = 0n;
    for (;;) {
      let call = this.#calls.begin(signal);
      const stream = new RemoteStream(this.#calls.clock, signal, (options) => this.#stub.list({}, options));
      try {
        for (;;) {
          const info = await stream.next(call.attemptMs);
          if (info === undefined) return;
          if (info.id <= last) continue;
          yield info;
          last = info.id;
          call = this.#calls.begin(signal);
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

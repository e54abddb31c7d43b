/** Serves a store over the network: all services on every address. */
import { revision } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { blobService, chunkService, PeerChunkService } from "../blob/index.ts";
import type { ChunkServiceOptions } from "../blob/index.ts";
import { implement, RpcServer } from "../rpc/index.ts";
import type { RpcServerOptions, Service } from "../rpc/index.ts";
import { commandService, fileService, keyService, leaseService, snapshotService, viewService } from "../view/index.ts";
import { singleService } from "./cluster/cluster-handlers.ts";
import type { LocalStore } from "./local-store.ts";
import { StoreService } from "./service.ts";

/** Bytes of log records after which a message of `logRead` is sent. */
const logMessageSize = 262_144;

export interface StoreServer {
  /** Where it listens, with the real ports, in the order in which they were asked for. */
  readonly addresses: readonly string[];
  /** Calls under way have `graceMs` to end. The store stays open. */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/** Listens on all addresses, or on none: then it rejects, naming the one that failed. */
export async function serveStore(
  env: Env,
  store: LocalStore,
  addresses: readonly string[],
  options: RpcServerOptions = {},
): Promise<StoreServer> {
  const cluster = singleService(store.members, store.name);
  const server = new RpcServer(env, [...storeServices(env, store), cluster], options);
  try {
    const listeners = [];
    for (const address of addresses) listeners.push(await server.listen(address));
    return { addresses: listeners.map(({ address }) => address), close: (how = {}) => server.close(how) };
  } catch (error) {
    await server.close({ graceMs: 0 });
    throw error;
  }
}

/** What a store offers its clients. */
export function storeServices(env: Env, store: LocalStore): Service[] {
  return [
    commandService(store.replica, store.views.all),
    keyService(store.localKeys),
    leaseService(store.localLeases),
    fileService(store.localFiles),
    snapshotService(store.localSnapshots),
    viewService(store.localViews, store.views.asked),
    storeService(store),
    blobService(env, store.blobs),
    chunkService(env, store.chunks, { reach: reachIn(store), check: checkIn(store) }),
  ];
}

/** What a member offers the others of its own chunks. */
export function peerChunkService(env: Env, store: LocalStore): Service {
  return chunkService(env, store.ownChunks, {
    reach: reachIn(store),
    check: checkIn(store),
    contract: PeerChunkService,
  });
}

function reachIn({ replica }: LocalStore): ChunkServiceOptions["reach"] {
  return (wanted, signal) => replica.reachRevision(revision(wanted), signal);
}

function checkIn({ pipeline }: LocalStore): ChunkServiceOptions["check"] {
  return async ({ hash, blob }) => void (await pipeline.open(hash, blob));
}

function storeService(store: LocalStore): Service {
  return implement(StoreService, {
    status: () => store.status(),
    checkpoint: () => store.checkpoint(),
    async logMove({ to }) {
      const { position, pauseMs } = await store.moveLog(to);
      return { position, pauseUs: Math.round(pauseMs * 1_000) };
    },
    async *logRead({ from, follow }, { signal }) {
      for await (const { position, records } of store.readLog({ from, follow, signal })) {
        let begin = 0;
        let size = 0;
        for (let index = 0; index < records.length; index++) {
          size += (records[index] as Uint8Array).length;
          if (size < logMessageSize && index < records.length - 1) continue;
          yield { position: position + begin, records: records.slice(begin, index + 1) };
          begin = index + 1;
          size = 0;
        }
      }
    },
    logVerify: (_, { signal }) => store.verifyLog({ signal }),
    blobVerify: (_, { signal }) => store.verifyBlobs({ signal }),
    treeVerify: (_, { signal }) => store.verifyTree({ signal }),
    collect: ({ dryRun }, { signal }) => store.collect({ dryRun, signal }),
    scrub: ({ rate }, { signal }) => store.scrub({ rate: rate === 0 ? undefined : rate, signal }),
  });
}

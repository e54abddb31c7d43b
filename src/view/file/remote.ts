/**
 * Names of files of a replica elsewhere. Reads are repeated, on another member where there is one; lists go on where they
 * were, so that nothing is lost or doubled: the rest of a list is asked of the revision that its first part was of, from a
 * member that has it.
 */
import { concatBytes, HoldfastError, prefixEnd, revision as toRevision } from "../../base/index.ts";
import type { Env, Revision } from "../../base/index.ts";
import type { RpcClient, Stub } from "../../rpc/index.ts";
import type { CommandOutcome, Operation, ProposeOptions, Proposer } from "../command.ts";
import { toFreshness } from "../freshness-message.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { LiveStreams } from "../key/remote-streams.ts";
import { RemoteCalls, RemoteStream, unchanging } from "../remote-calls.ts";
import type { RemoteOptions } from "../remote-calls.ts";
import type { StoredFile } from "./file-operation.ts";
import type { BucketInfo, FileBatch, FileQuery, FileSource, FileVersion, ListedFile } from "./file-source.ts";
import { FileService } from "./service.ts";

export class RemoteFiles implements FileSource {
  readonly #calls: RemoteCalls;
  readonly #stub: Stub<(typeof FileService)["methods"]>;
  readonly #proposer: Proposer;
  readonly #streams: LiveStreams;

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, proposer: Proposer, options: RemoteOptions) {
    this.#calls = new RemoteCalls(env, client, options);
    const stub = client.use(FileService);
    this.#stub = stub;
    this.#proposer = proposer;
    this.#streams = new LiveStreams(env.clock, client, (timeoutMs) => stub.revision({ freshness: {} }, { timeoutMs }));
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#proposer.propose(operations, options);
  }

  async get(
    bucket: string,
    path: Uint8Array,
    at: number | undefined,
    options: ReadOptions,
  ): Promise<StoredFile | undefined> {
    const request = { bucket, path, at, freshness: toFreshness(options, at) };
    const { file } = await this.#calls.repeated(options.signal, (callOptions) => this.#stub.get(request, callOptions));
    return file as StoredFile | undefined;
  }

  async *list(query: FileQuery, options: ReadOptions): AsyncGenerator<FileBatch, void, undefined> {
    let rest = query;
    let call = this.#calls.begin(options.signal);
    for (;;) {
      const request = { ...rest, freshness: toFreshness(options, rest.at) };
      const stream = new RemoteStream(this.#calls.clock, options.signal, (callOptions) =>
        this.#stub.list(request, callOptions),
      );
      this.#streams.add(stream, { endless: false });
      try {
        for (;;) {
          const batch = await stream.next(call.attemptMs);
          if (batch === undefined) return;
          const files = batch.files as readonly ListedFile[];
          yield { revision: batch.revision, files };
          rest = behind(rest, batch.revision, files);
          call = this.#calls.begin(options.signal);
        }
      } catch (error) {
        if (!(error instanceof HoldfastError) || !call.passes(error)) throw unchanging(error);
        await call.again(error, false);
      } finally {
        this.#streams.delete(stream);
        stream.end();
      }
    }
  }

  async versions(bucket: string, path: Uint8Array, options: ReadOptions): Promise<readonly FileVersion[]> {
    const request = { bucket, path, freshness: toFreshness(options, undefined) };
    return this.#calls.repeated(options.signal, async (callOptions) => {
      const all: FileVersion[] = [];
      for await (const { versions } of this.#stub.versions(request, callOptions)) {
        all.push(...(versions as readonly FileVersion[]));
      }
      return all;
    });
  }

  async bucket(name: string, options: ReadOptions, at?: number): Promise<BucketInfo | undefined> {
    const request = { name, at, freshness: toFreshness(options, at) };
    const response = await this.#calls.repeated(options.signal, (callOptions) =>
      this.#stub.bucket(request, callOptions),
    );
    return response.bucket as BucketInfo | undefined;
  }

  async buckets(options: ReadOptions): Promise<readonly BucketInfo[]> {
    const request = { freshness: toFreshness(options, undefined) };
    return this.#calls.repeated(options.signal, async (callOptions) => {
      const all: BucketInfo[] = [];
      for await (const { buckets } of this.#stub.buckets(request, callOptions)) {
        all.push(...(buckets as readonly BucketInfo[]));
      }
      return all;
    });
  }

  async revision(options: ReadOptions): Promise<Revision> {
    const request = { freshness: toFreshness(options, undefined) };
    const { revision } = await this.#calls.repeated(options.signal, (callOptions) =>
      this.#stub.revision(request, callOptions),
    );
    return toRevision(revision);
  }
}

/** What is left of a query after these: the same state, behind the last of them. */
function behind(query: FileQuery, revision: number, files: readonly ListedFile[]): FileQuery {
  const last = files[files.length - 1];
  if (last === undefined) return query;
  let start = last.path;
  // All that is below a folder comes with its name.
  if (query.reverse !== true) start = last.file === undefined ? folderEnd(start) : concatBytes([start, zero]);
  const limit = query.limit === undefined ? undefined : query.limit - files.length;
  return { ...query, start, at: revision, limit };
}

/** It ends with a slash, so there is a next one. */
function folderEnd(path: Uint8Array): Uint8Array {
  return prefixEnd(path) as Uint8Array;
}

const zero = new Uint8Array(1);

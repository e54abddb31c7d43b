/** Questions to views and their topics over the network: both halves. */
import {
  bool,
  bytes,
  embed,
  HoldfastError,
  isAborted,
  message,
  optional,
  string,
  uint32,
  uint64,
} from "../base/index.ts";
import type { Env, Revision } from "../base/index.ts";
import { contract, implement, serverStream, unary } from "../rpc/index.ts";
import type { RpcClient, Service, Stub } from "../rpc/index.ts";
import type { CommandOutcome, Operation, ProposeOptions, Proposer } from "./command.ts";
import { Freshness, toFreshness, toReadOptions } from "./freshness-message.ts";
import { RemoteCalls, RemoteStream, unchanging } from "./remote-calls.ts";
import type { RemoteCall, RemoteOptions } from "./remote-calls.ts";
import type { AskedView } from "./view.ts";
import type { Answered, AskOptions, Questioned, Topic, ViewSource } from "./view-source.ts";

const AskRequest = message("holdfast.view.AskRequest", {
  viewId: uint32(1),
  query: bytes(2),
  freshness: embed(3, Freshness),
  at: optional(uint64(4)),
  since: optional(uint64(5)),
});
const AskResponse = message("holdfast.view.AskResponse", {
  answer: bytes(1),
  revision: uint64(2),
  timeMs: uint64(3),
  unchanged: bool(4),
});
const ChangesRequest = message("holdfast.view.ChangesRequest", { viewId: uint32(1), topic: string(2) });
const Change = message("holdfast.view.Change", { revision: uint64(1) });

export const ViewService = contract("holdfast.view.Views", {
  ask: unary(1, AskRequest, AskResponse),
  /** One at once, when it listens, then one after changes. */
  changes: serverStream(2, ChangesRequest, Change),
});

export function viewService(source: ViewSource, views: readonly AskedView[]): Service {
  const byId = new Map(views.map((view) => [view.id, view]));
  const viewOf = (id: number): AskedView => {
    const view = byId.get(id);
    if (view !== undefined) return view;
    throw new HoldfastError(
      "invalid",
      `this member knows no view ${id} that can be asked; it may be older than the client`,
    );
  };
  return implement(ViewService, {
    async ask({ viewId, query, freshness, at, since }, { signal }) {
      const view = viewOf(viewId);
      const options = { ...toReadOptions(freshness, signal), at, since };
      const { answer, ...rest } = await source.ask(view, view.query.decode(query), options);
      return { answer: view.answer.encode(answer), ...rest };
    },
    async *changes({ viewId, topic }, { signal }) {
      for await (const revision of source.changes({ view: viewOf(viewId), name: topic }, signal)) yield { revision };
    },
  });
}

export class RemoteViews implements ViewSource {
  readonly #calls: RemoteCalls;
  readonly #stub: Stub<(typeof ViewService)["methods"]>;
  readonly #proposer: Proposer;
  /** The newest that was told to who follows something: at no other member is it told what was before. */
  #seen = 0;

  constructor(env: Pick<Env, "clock" | "random">, client: RpcClient, proposer: Proposer, options: RemoteOptions) {
    this.#calls = new RemoteCalls(env, client, options);
    this.#stub = client.use(ViewService);
    this.#proposer = proposer;
  }

  get closed(): boolean {
    return this.#calls.client.closed;
  }

  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome> {
    return this.#proposer.propose(operations, options);
  }

  async ask<Query, Answer>(
    view: Questioned<Query, Answer>,
    query: Query,
    options: AskOptions = {},
  ): Promise<Answered<Answer>> {
    const { at, atLeast, since, signal } = options;
    const follows = atLeast !== undefined && at === undefined && since === undefined;
    const fresh = follows ? { ...options, atLeast: Math.max(this.#seen, atLeast) as Revision } : options;
    const request = {
      viewId: view.id,
      query: view.query.encode(query),
      freshness: toFreshness(fresh, at),
      at,
      since,
    };
    const response = await this.#calls.repeated(signal, (callOptions) => this.#stub.ask(request, callOptions));
    const { revision, timeMs, unchanged } = response;
    if (follows) this.#seen = Math.max(this.#seen, revision);
    return { answer: view.answer.decode(response.answer), revision: revision as Revision, timeMs, unchanged };
  }

  /** Where a member fails it goes on at another, which gives one at once: what came in between is not lost. */
  async *changes(topic: Topic, signal: AbortSignal | undefined): AsyncGenerator<Revision, void, undefined> {
    const request = { viewId: topic.view.id, topic: topic.name };
    let call: RemoteCall | undefined;
    for (;;) {
      if (isAborted(signal)) return;
      const stream = new RemoteStream(this.#calls.clock, signal, (options) => this.#stub.changes(request, options));
      try {
        // The first comes at once, or the member is avoided; the next when there is something to tell.
        const firstMs = this.#calls.timeoutMs / 2;
        for (let change = await stream.next(firstMs); change !== undefined; change = await stream.next()) {
          call = undefined;
          yield change.revision as Revision;
        }
        throw new HoldfastError("unavailable", "the member ended the changes of a topic");
      } catch (error) {
        if (isAborted(signal)) return;
        // It waits for a member as long as its caller waits for it.
        call ??= this.#calls.begin(signal, Number.POSITIVE_INFINITY);
        if (!(error instanceof HoldfastError) || !call.passes(error)) throw unchanging(error);
        await call.again(error, false);
      } finally {
        stream.end();
      }
    }
  }
}

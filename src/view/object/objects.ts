/**
 * Objects of a user's own type, as a user sees them: every process that has one open plays its commands on a copy of its
 * own, which follows the log by itself. So reads need nobody else, and the members of a cluster need not know the code.
 *
 *  1. Commands are given in one order; each is played everywhere behind the same commands, once.
 *  2. What a command returned or threw here is what its caller gets; it is the same everywhere.
 *  3. A copy that cannot go on stops for good and says why at every call; it never goes on differently.
 */
import { abortable, assert, HoldfastError, limits, Signal, sleep, throwIfAborted } from "../../base/index.ts";
import type { Env, Revision } from "../../base/index.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { checkedName } from "../value.ts";
import { proposeOne } from "../view-source.ts";
import type { AskOptions, ViewSource } from "../view-source.ts";
import type { AnyDefinition, Commands, ObjectDefinition, Queries } from "./definition.ts";
import { ObjectCopy } from "./object-copy.ts";
import type { OnPlayed } from "./object-copy.ts";
import { bodyProblem, said, topicOf } from "./object-view.ts";
import type { ObjectOperation, ObjectResult, ObjectView } from "./object-view.ts";
import { bodyOf } from "./player.ts";
import type { Development, Played } from "./player.ts";

export interface ObjectOptions {
  /** Run every command twice and watch over it. Default: unless the environment says `NODE_ENV=production`. */
  readonly development?: boolean | undefined;
  /** Commands behind the last snapshot at which the next is taken, from 1. Default 1,000. */
  readonly snapshotEvery?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

type Rest<F> = F extends (state: never, ...rest: infer R) => unknown ? R : never;
type Returned<F> = F extends (...rest: never[]) => infer R ? R : never;
type CommandMethods<C> = { readonly [N in keyof C]: (...rest: Rest<C[N]>) => Promise<Returned<C[N]>> };
type QueryMethods<Q> = { readonly [N in keyof Q]: (...rest: Rest<Q[N]>) => Returned<Q[N]> };

/** An open object: its commands and its queries are methods. A command is durable when it answers. */
export type OpenObject<State, C, Q> = ReplicatedObject<State> & CommandMethods<C> & QueryMethods<Q>;

export type ObjectEnv = Pick<Env, "clock" | "random" | "logger" | "determinism">;

interface Proposed {
  readonly result: ObjectResult;
  readonly revision: Revision;
}

/** What to have played before going on. */
interface Wanted {
  atLeast: number;
  linearizable: boolean;
  readonly done: Promise<void>;
}

const snapshotEveryDefault = 1_000;
/** Bytes of commands behind the last snapshot at which the next is taken. */
const snapshotLogSize = 4_194_304;
/** Until a copy that hears nothing listens anew. */
const listenAgainMs = 500;

export class ReplicatedObject<State = unknown> {
  readonly type: string;
  readonly key: string;
  readonly #env: ObjectEnv;
  readonly #source: ViewSource;
  readonly #view: ObjectView;
  readonly #definition: AnyDefinition;
  readonly #copy: ObjectCopy;
  readonly #development: boolean;
  readonly #snapshotEvery: number;
  readonly #closing = new AbortController();
  readonly #moved = new Signal();
  /** What commands returned or threw, by object and sequence number, while somebody waits for some. */
  readonly #outcomes = new Map<string, Played>();
  #waitingCount = 0;
  #running: Promise<void> = Promise.resolve();
  #next: Wanted | undefined;
  /** Bytes of commands played since the last snapshot was seen. */
  #playedSize = 0;
  #snapshotting = false;
  #failure: HoldfastError | undefined;
  /** Errors of questions and proposals, as opposed to those of the code that is played. */
  readonly #ofStore = new WeakSet<object>();
  readonly #note = (error: object): never => {
    this.#ofStore.add(error);
    throw error;
  };

  /** @internal */
  constructor(
    env: ObjectEnv,
    source: ViewSource,
    view: ObjectView,
    definition: AnyDefinition,
    key: string,
    options: ObjectOptions,
  ) {
    this.type = definition.type;
    this.key = checkedName(key, `key of object type ${definition.type}`);
    this.#env = env;
    this.#source = source;
    this.#view = view;
    this.#definition = definition;
    const { snapshotEvery = snapshotEveryDefault } = options;
    if (!(snapshotEvery >= 1)) throw new HoldfastError("invalid", `snapshotEvery is ${snapshotEvery}; it is from 1`);
    this.#snapshotEvery = snapshotEvery;
    this.#development = options.development ?? env.determinism !== undefined;
    this.#copy = new ObjectCopy(env.clock, definition, key, developmentOf(env, options));
  }

  /** @internal */
  async open(signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    try {
      await abortable(this.#refresh({ linearizable: true }), signal);
    } catch (error) {
      this.#closing.abort();
      throw error;
    }
    if (this.#source.past !== true) void this.#follow();
  }

  /** The state, as it is here: a copy, or frozen. */
  get state(): State {
    this.#checkOpen();
    return this.#copy.player.state as State;
  }

  /** How many commands it has had, as far as it is known here. */
  get sequence(): number {
    return this.#copy.player.sequence;
  }

  /** Plays everything that was acknowledged anywhere before the call. */
  async fresh({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#checkOpen();
    throwIfAborted(signal);
    await abortable(this.#refresh({ linearizable: true }), signal);
  }

  /** A query by its name. Default `local`, as the query's method; `linearizable` plays what was acknowledged before. */
  async query(name: string, rest: readonly unknown[] = [], options: ReadOptions = {}): Promise<unknown> {
    const { consistency = "local", atLeast = 0, signal } = options;
    this.#checkOpen();
    throwIfAborted(signal);
    if (consistency === "linearizable" || atLeast > 0)
      await abortable(this.#refresh({ linearizable: consistency === "linearizable", atLeast }), signal);
    return this.#copy.player.query(name, rest);
  }

  /** The state now, and after commands: the newest, where several came at once. Ends with the object, or the signal. */
  async *watch({ signal }: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<State, void, undefined> {
    const stop = AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])]);
    while (!stop.aborted) {
      const moved = this.#moved.wait();
      yield this.state;
      await abortable(moved, stop).catch(() => {});
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Writes down the state, so that who opens it need not play what was before. It happens by itself now and then. */
  async snapshot(): Promise<void> {
    this.#checkOpen();
    await this.#refresh({ linearizable: true });
    const { snapshotSequence, player } = this.#copy;
    if (this.#copy.id !== 0 && snapshotSequence < player.sequence) await this.#propose(this.#copy.snapshot());
  }

  /** The object is then what it was before its first command, everywhere. */
  async delete(): Promise<void> {
    this.#checkOpen();
    const { revision } = await this.#propose({ operation: { case: "delete", value: { name: this.#copy.name } } });
    await this.#refresh({ atLeast: revision });
  }

  /** Nothing follows the log any more. The object itself stays. */
  close(): void {
    this.#closing.abort();
    this.#moved.notify();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal */
  local(name: string, rest: readonly unknown[]): unknown {
    this.#checkOpen();
    return this.#copy.player.query(name, rest);
  }

  /** @internal */
  async command(command: string, rest: readonly unknown[]): Promise<unknown> {
    this.#checkOpen();
    const { name } = this.#copy;
    const body = bodyOf(this.type, command, rest);
    if (body.length > limits.valueSizeMax) throw new HoldfastError("invalid", bodyProblem(name, command, body.length));
    const seed = this.#env.random.uint32();
    if (this.#development) this.#copy.player.rehearse({ command, body, seed, timeMs: this.#env.clock.wallMs() });
    const { version } = this.#definition;
    const value = { name, version, command, body, seed, timeMs: undefined, expected: undefined };
    this.#waitingCount++;
    try {
      const { result, revision } = await this.#append({ operation: { case: "append", value } });
      await this.#refresh({ atLeast: revision }).catch((error: HoldfastError) => {
        throw tookEffect(`command ${command} of ${said(name)}`, error);
      });
      const outcome = this.#outcomes.get(`${result.id} ${result.sequence}`);
      if (outcome === undefined) throw tookEffect(`command ${command} of ${said(name)}`, undefined);
      this.#snapshotIfDue(1);
      if (!outcome.ok) throw outcome.error;
      return outcome.value;
    } finally {
      if (--this.#waitingCount === 0) this.#outcomes.clear();
    }
  }

  /** An earlier version of the program may have made the object anew meanwhile. */
  async #append(body: ObjectOperation): Promise<Proposed> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#propose(body);
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== "conflict" || attempt > 8) throw error;
        await this.#refresh({ linearizable: true });
      }
    }
  }

  #propose(body: ObjectOperation): Promise<Proposed> {
    return proposeOne(this.#source, this.#view, body, this.#closing.signal).catch(this.#note);
  }

  #checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closing.signal.aborted)
      throw new HoldfastError("invalid", `${said(this.#copy.name)} is closed; open it anew`);
  }

  /** One at a time; those who come while one is under way share the next. */
  #refresh({
    atLeast = 0,
    linearizable = false,
  }: {
    readonly atLeast?: number;
    readonly linearizable?: boolean;
  }): Promise<void> {
    this.#next ??= { atLeast: 0, linearizable: false, done: this.#afterRunning() };
    this.#next.atLeast = Math.max(this.#next.atLeast, atLeast);
    this.#next.linearizable ||= linearizable;
    return this.#next.done;
  }

  async #afterRunning(): Promise<void> {
    await this.#running.catch(() => {});
    const wanted = this.#next;
    assert(wanted !== undefined, "a refresh has begun that nobody wanted");
    this.#next = undefined;
    this.#running = this.#catchUp(wanted);
    await this.#running;
  }

  async #catchUp({ atLeast, linearizable }: Wanted): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    // The first question is as fresh as is wanted; those behind it go to what has answered it, or something newer.
    let options: AskOptions = {
      consistency: linearizable ? "linearizable" : "local",
      ...(atLeast > 0 && { atLeast: atLeast as Revision }),
      signal: this.#closing.signal,
    };
    try {
      for (;;) {
        const moved = await this.#copy.catchUp(async (query) => {
          const { answer, revision } = await this.#source.ask(this.#view, query, options).catch(this.#note);
          options = { consistency: "local", atLeast: revision, signal: this.#closing.signal };
          return answer;
        }, this.#onPlayed);
        if (moved) this.#moved.notify();
        if (!this.#copy.outdated || (await this.#migrate())) return;
      }
    } catch (error) {
      // Those of the store pass, or are met again; those of the code stay (3).
      if (!this.#ofStore.has(error as object)) this.#fail(error);
      throw error;
    }
  }

  readonly #onPlayed: OnPlayed = (id, sequence, played, size) => {
    this.#playedSize += size;
    if (this.#waitingCount > 0) this.#outcomes.set(`${id} ${sequence}`, played);
  };

  /** False when a command, or another migration, has come before it. */
  async #migrate(): Promise<boolean> {
    const { operation, adopt } = this.#copy.migration();
    if (this.#source.past !== true) {
      try {
        await this.#propose(operation);
      } catch (error) {
        if (error instanceof HoldfastError && error.code === "conflict") return false;
        throw error;
      }
    }
    adopt();
    this.#moved.notify();
    return true;
  }

  #fail(error: unknown): void {
    const what = error instanceof Error ? error.message : String(error);
    this.#failure = error instanceof HoldfastError ? error : new HoldfastError("invalid", what, { cause: error });
    this.close();
  }

  /** Who gave the last command takes it; others only when nobody has. */
  #snapshotIfDue(patience: number): void {
    const { player, snapshotSequence, id } = this.#copy;
    const count = player.sequence - snapshotSequence;
    const due =
      count >= this.#snapshotEvery * patience || (this.#playedSize >= snapshotLogSize * patience && count > 0);
    if (!due || this.#snapshotting || id === 0 || this.#closing.signal.aborted || this.#copy.outdated) return;
    this.#snapshotting = true;
    this.#playedSize = 0;
    void this.#takeSnapshot();
  }

  async #takeSnapshot(): Promise<void> {
    try {
      await this.#propose(this.#copy.snapshot());
      await this.#refresh({});
    } catch (error) {
      // Another's may stand already; else the next command tries again.
      const { message } = error as Error;
      this.#env.logger.log("debug", "no snapshot of an object was taken", { object: said(this.#copy.name), message });
    } finally {
      this.#snapshotting = false;
    }
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    const topic = { view: this.#view, name: topicOf(this.#copy.name) };
    while (!signal.aborted) {
      try {
        for await (const revision of this.#source.changes(topic, signal)) {
          await this.#refresh({ atLeast: revision });
          this.#snapshotIfDue(2);
        }
      } catch (error) {
        const { message } = error as Error;
        this.#env.logger.log("debug", "an object hears nothing", { object: said(this.#copy.name), message });
      }
      if (this.#source.closed) this.close();
      else await sleep(this.#env.clock, listenAgainMs, signal).catch(() => {});
    }
  }
}

function tookEffect(what: string, cause: HoldfastError | undefined): HoldfastError {
  const { code = "unavailable", message = "a snapshot took its place before it was played here" } = cause ?? {};
  return new HoldfastError(code, `${what} has its place in the log, but what it answers is not known: ${message}`, {
    maybe: true,
    cause,
  });
}

export function developmentOf(env: ObjectEnv, { development }: ObjectOptions): Development | undefined {
  const { determinism } = env;
  return (development ?? determinism !== undefined) ? { determinism } : undefined;
}

/** Opens it, with all that was acknowledged before the call. */
export async function openObject<State, C extends Commands<State>, Q extends Queries<State>>(
  env: ObjectEnv,
  source: ViewSource,
  view: ObjectView,
  definition: ObjectDefinition<State, C, Q>,
  key: string,
  options: ObjectOptions = {},
): Promise<OpenObject<State, C, Q>> {
  const object = new ReplicatedObject<State>(env, source, view, definition, key, options);
  const methods: Record<string, unknown> = {};
  for (const name of Object.keys(definition.commands))
    methods[name] = (...rest: readonly unknown[]) => object.command(name, rest);
  for (const name of Object.keys(definition.queries))
    methods[name] = (...rest: readonly unknown[]) => object.local(name, rest);
  await object.open(options.signal);
  return Object.assign(object, methods) as unknown as OpenObject<State, C, Q>;
}

/** The keys of all objects of a type, in the order of their bytes. A page at a time, each of one revision. */
export async function* listObjects(
  source: ViewSource,
  view: ObjectView,
  type: string,
  { prefix = "", ...options }: ReadOptions & { readonly prefix?: string | undefined } = {},
): AsyncGenerator<string, void, undefined> {
  for (let after = ""; ;) {
    const { answer } = await source.ask(view, { query: { case: "list", value: { type, prefix, after } } }, options);
    yield* answer.keys;
    if (!answer.more) return;
    after = answer.keys.at(-1) ?? "";
  }
}

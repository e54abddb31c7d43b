/** An object inside a transaction: its commands are played on the state that the transaction reads, and committed with it. */
import { HoldfastError, limits } from "../../base/index.ts";
import { checkedName } from "../value.ts";
import type { ViewTransaction } from "../view-transaction.ts";
import type { AnyDefinition, Commands, ObjectDefinition, Queries } from "./definition.ts";
import { ObjectCopy } from "./object-copy.ts";
import { bodyProblem, said, topicOf } from "./object-view.ts";
import type { ObjectView } from "./object-view.ts";
import { developmentOf } from "./objects.ts";
import type { ObjectEnv } from "./objects.ts";
import { bodyOf } from "./player.ts";

type Rest<F> = F extends (state: never, ...rest: infer R) => unknown ? R : never;
type Returned<F> = F extends (...rest: never[]) => infer R ? R : never;
type Methods<M> = { readonly [N in keyof M]: (...rest: Rest<M[N]>) => Promise<Returned<M[N]>> };

/** Commands and queries as methods, which see what the transaction itself has done. One that throws is not committed. */
export type TransactionObject<State, C, Q> = Methods<C> & Methods<Q> & { readonly read: () => Promise<State> };

class ObjectInTransaction {
  readonly #env: ObjectEnv;
  readonly #tx: ViewTransaction;
  readonly #view: ObjectView;
  readonly #copy: ObjectCopy;
  readonly definition: AnyDefinition;
  readonly #development: boolean;
  /** One thing after another, also where the function does not wait in between. */
  #last: Promise<unknown>;

  constructor(env: ObjectEnv, tx: ViewTransaction, view: ObjectView, definition: AnyDefinition, key: string) {
    this.#env = env;
    this.#tx = tx;
    this.#view = view;
    this.definition = definition;
    const development = developmentOf(env, {});
    this.#development = development !== undefined;
    this.#copy = new ObjectCopy(env.clock, definition, key, development);
    this.#last = this.#load();
    // Whoever uses it is told.
    this.#last.catch(() => {});
  }

  async #load(): Promise<void> {
    await this.#copy.catchUp((query) => this.#tx.read(this.#view, query));
    if (!this.#copy.outdated) return;
    const { operation, adopt } = this.#copy.migration();
    this.#tx.write(this.#view, operation);
    adopt();
  }

  #then<T>(work: () => T): Promise<T> {
    const before = this.#last;
    const done = before.then(work);
    // A command that throws is no reason for the next not to be played; an object that cannot be read is.
    this.#last = done.then(
      () => undefined,
      () => before,
    );
    this.#last.catch(() => {});
    return done;
  }

  read(): Promise<unknown> {
    return this.#then(() => structuredClone(this.#copy.player.state));
  }

  query(name: string, rest: readonly unknown[]): Promise<unknown> {
    return this.#then(() => this.#copy.player.query(name, rest));
  }

  command(command: string, rest: readonly unknown[]): Promise<unknown> {
    return this.#then(() => {
      this.#tx.checkOpen();
      const { name, player } = this.#copy;
      const body = bodyOf(this.definition.type, command, rest);
      if (body.length > limits.valueSizeMax)
        throw new HoldfastError("invalid", bodyProblem(name, command, body.length));
      // Its time is this one everywhere, so that it does there what it has done here.
      const record = {
        command,
        body,
        seed: this.#env.random.uint32(),
        timeMs: Math.max(0, Math.floor(this.#env.clock.wallMs())),
      };
      if (this.#development) player.rehearse(record);
      const { sequence: expected, definition } = player;
      const played = player.play(record, { refusedCounts: false });
      if (!played.ok) throw played.error;
      const value = { ...record, name, version: definition.version, expected };
      this.#tx.write(this.#view, { operation: { case: "append", value } });
      return played.value;
    });
  }
}

export function objectInTransaction<S, C extends Commands<S>, Q extends Queries<S>>(
  env: ObjectEnv,
  tx: ViewTransaction,
  view: ObjectView,
  definition: ObjectDefinition<S, C, Q>,
  key: string,
): TransactionObject<S, C, Q> {
  const whole: AnyDefinition = definition;
  checkedName(key, `key of object type ${whole.type}`);
  const { object, methods } = tx.object(view, topicOf({ type: whole.type, key }), () => {
    const made = new ObjectInTransaction(env, tx, view, whole, key);
    return { object: made, methods: methodsOf(made, whole) };
  });
  if (object.definition === whole) return methods as unknown as TransactionObject<S, C, Q>;
  throw new HoldfastError(
    "invalid",
    `the transaction has ${said({ type: whole.type, key })} by another definition already`,
  );
}

function methodsOf(object: ObjectInTransaction, { commands, queries }: AnyDefinition): Record<string, unknown> {
  const methods: Record<string, unknown> = { read: () => object.read() };
  for (const name of Object.keys(commands)) methods[name] = (...rest: unknown[]) => object.command(name, rest);
  for (const name of Object.keys(queries)) methods[name] = (...rest: unknown[]) => object.query(name, rest);
  return methods;
}

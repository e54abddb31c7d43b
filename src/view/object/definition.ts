/**
 * What an object of a user's own type is: how its state begins, and plain functions that change it and look at it.
 *
 * Commands are played by every process that has the object open, so each must do the same everywhere: what it does
 * depends on the state, its arguments and its context (`this`) alone. It changes the state in place; one that throws
 * changes nothing. State, arguments and results are what JSON holds.
 */
import { HoldfastError } from "../../base/index.ts";
import { checkedName } from "../value.ts";

/** What a command has as `this`, the same in every process. */
export interface CommandContext {
  /** Milliseconds since the Unix epoch. */
  readonly timeMs: number;
  /** How many commands the object has had before. */
  readonly sequence: number;
  /** From 0 (included) to 1 (excluded), another at each call. */
  random(): number;
}

export type Commands<State> = Readonly<Record<string, (state: State, ...rest: never[]) => unknown>>;
export type Queries<State> = Readonly<Record<string, (state: State, ...rest: never[]) => unknown>>;

export interface ObjectSpecification<State, C extends Commands<State>, Q extends Queries<State>> {
  /** The state of an object that has had no command yet. */
  readonly initial: () => State;
  /** May be called as methods of the object; each answers what it returns. */
  readonly commands: C & ThisType<CommandContext>;
  // Twice the same, so that the parameters of queries have their types.
  readonly queries?: Q & Queries<State>;
  /** From 1; default 1. To be raised whenever a command does something else than before, or the state has another form. */
  readonly version?: number | undefined;
  /** The state of this version, of one of version `from`. Default: the state as it is. */
  readonly migrate?: ((state: never, from: number) => State) | undefined;
  /** The definition of the version before: it plays what was written by it. See `version`. */
  readonly previous?: AnyDefinition | undefined;
}

export interface ObjectDefinition<State, C extends Commands<State>, Q extends Queries<State>> {
  readonly type: string;
  readonly version: number;
  readonly initial: () => State;
  readonly commands: C;
  readonly queries: Q;
  readonly migrate: (state: unknown, from: number) => State;
  readonly previous: AnyDefinition | undefined;
}

/** A definition of whatever state. */
export interface AnyDefinition {
  readonly type: string;
  readonly version: number;
  readonly initial: () => unknown;
  readonly commands: Readonly<Record<string, unknown>>;
  readonly queries: Readonly<Record<string, unknown>>;
  readonly migrate: (state: unknown, from: number) => unknown;
  readonly previous: AnyDefinition | undefined;
}

/** Names that the object has itself; `then` would make a promise of it. */
const reserved = new Set([
  "key",
  "type",
  "state",
  "sequence",
  "failed",
  "fresh",
  "query",
  "watch",
  "snapshot",
  "close",
  "delete",
]);
reserved.add("then").add("constructor");

/** `invalid` for names that are taken, and for versions that do not grow. */
export function defineObject<
  State,
  C extends Commands<State>,
  // oxlint-disable-next-line typescript/no-generated-empty-object-type -- without queries, no property stands for one
  Q extends Queries<State> = Record<never, never>,
>(type: string, specification: ObjectSpecification<State, C, Q>): ObjectDefinition<State, C, Q> {
  checkedName(type, "type of objects");
  const { initial, commands, version = 1, migrate, previous } = specification;
  const queries = specification.queries ?? ({} as Q);
  if (!Number.isInteger(version) || version < 1 || version > 0xffff_ffff)
    throw refusal(type, `has version ${String(version)}; it is a whole number from 1`);
  if (previous !== undefined && (previous.version >= version || previous.type !== type))
    throw refusal(type, `has version ${version}, and the one before is ${previous.version} of ${previous.type}`);
  for (const [name, body] of [...Object.entries(commands), ...Object.entries(queries)]) {
    checkedName(name, `command of ${type}`);
    if (reserved.has(name)) throw refusal(type, `has a command or query ${name}, which every object has itself`);
    if (typeof body !== "function") throw refusal(type, `has ${name}, which is no function`);
    if (Object.hasOwn(commands, name) && Object.hasOwn(queries, name))
      throw refusal(type, `has ${name} both as a command and as a query`);
  }
  const asItIs = (state: unknown) => state as State;
  return {
    type,
    version,
    initial,
    commands,
    queries,
    migrate: (migrate as ((state: unknown, from: number) => State) | undefined) ?? asItIs,
    previous,
  };
}

function refusal(type: string, what: string): HoldfastError {
  return new HoldfastError("invalid", `the definition of object type ${type} ${what}`);
}

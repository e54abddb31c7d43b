/**
 * The server's half of a contract: handlers, typed by it.
 */
import { assert } from "../base/index.ts";
import type { Contract, Method, Methods } from "./contract.ts";

/** What a handler knows of the call beside the request. */
export interface Call {
  /**
   * Aborts when nobody waits for the answer any more: the client cancelled, the deadline passed, the connection is lost.
   * Its reason is a `HoldfastError`. A handler that takes long or streams should watch it.
   */
  readonly signal: AbortSignal;
  /** Milliseconds left until the deadline, not below 0; undefined without one. */
  readonly deadlineMs: number | undefined;
  /** Who calls: the address of the other end of the connection. */
  readonly peer: string;
}

/**
 * The function that serves a method. It may throw a `HoldfastError`, which reaches the caller with its code, message and
 * `maybe`; any other error is logged and reaches the caller as `unavailable`. Bytes in a request are valid as long as
 * they are referred to. What it yields is encoded at once and may be reused.
 */
export type Handler<M> =
  M extends Method<infer Kind, infer Request, infer _RequestInit, infer _Response, infer ResponseInit>
    ? Kind extends "unary"
      ? (request: Request, call: Call) => Promise<ResponseInit> | ResponseInit
      : Kind extends "serverStream"
        ? (request: Request, call: Call) => AsyncIterable<ResponseInit>
        : Kind extends "clientStream"
          ? (requests: AsyncIterable<Request>, call: Call) => Promise<ResponseInit>
          : (requests: AsyncIterable<Request>, call: Call) => AsyncIterable<ResponseInit>
    : never;

export type Handlers<M extends Methods> = { readonly [Name in keyof M]: Handler<M[Name]> };

/** A method as the server calls it. The kind says what goes in and comes out. */
export interface ServedMethod {
  /** `holdfast.member.Store.status`, for messages. */
  readonly label: string;
  readonly method: Method;
  readonly handle: (request: never, call: Call) => unknown;
}

/** A contract with its handlers. */
export interface Service {
  readonly name: string;
  /** @internal */
  readonly methods: ReadonlyMap<number, ServedMethod>;
}

/** Joins a contract and its handlers. Handlers are called as methods of `handlers`, so that they may use `this`. */
export function implement<M extends Methods>(contract: Contract<M>, handlers: Handlers<M>): Service {
  const methods = new Map<number, ServedMethod>();
  const all = handlers as unknown as Readonly<Record<string, ServedMethod["handle"]>>;
  for (const [name, method] of Object.entries(contract.methods)) {
    const handler = all[name];
    assert(typeof handler === "function", `${contract.name}.${name} has no handler`);
    methods.set(method.number, { label: `${contract.name}.${name}`, method, handle: handler.bind(handlers) });
  }
  return { name: contract.name, methods };
}

/**
 * The client's half of a contract: one function a method, typed by it.
 */
import type { Contract, Method, Methods } from "./contract.ts";
import type { CalledMethod } from "./client-call.ts";

export interface CallOptions {
  /** Ends the call when it aborts: `cancelled`, or `timeout` if its reason is one. */
  readonly signal?: AbortSignal;
  /**
   * How long the call may take, waiting for a connection included; then it fails with `timeout`. Default for methods
   * with one response: the client's `callTimeoutMs`; for streams of responses: no deadline. `Infinity`: none.
   */
  readonly timeoutMs?: number;
  /**
   * For a stream of requests: each leaves at once instead of waiting for others of the same turn. Costs a system call for
   * each, and saves the others the time to the next turn.
   */
  readonly prompt?: boolean;
}

/** What a method's requests may be where there are many. */
export type RequestStream<Request> = AsyncIterable<Request> | Iterable<Request>;

/**
 * The function that calls a method. Every failure is a `HoldfastError`; `maybe` says that the server may have done, or
 * may still do, what was asked. A stream of responses begins when the first is asked for and can be iterated once;
 * leaving the loop cancels the call.
 */
export type StubMethod<M> =
  M extends Method<infer Kind, infer _Request, infer RequestInit, infer Response, infer _ResponseInit>
    ? Kind extends "unary"
      ? (request: RequestInit, options?: CallOptions) => Promise<Response>
      : Kind extends "serverStream"
        ? (request: RequestInit, options?: CallOptions) => AsyncIterableIterator<Response, undefined>
        : Kind extends "clientStream"
          ? (requests: RequestStream<RequestInit>, options?: CallOptions) => Promise<Response>
          : (requests: RequestStream<RequestInit>, options?: CallOptions) => AsyncIterableIterator<Response, undefined>
    : never;

export type Stub<M extends Methods> = { readonly [Name in keyof M]: StubMethod<M[Name]> };

/** Makes a call of any kind; `request` is one request or a stream of them, as the method's kind says. */
export type Caller = (called: CalledMethod, request: never, options: CallOptions | undefined) => unknown;

export function makeStub<M extends Methods>(contract: Contract<M>, call: Caller): Stub<M> {
  const stub: Record<string, unknown> = {};
  for (const [name, method] of Object.entries(contract.methods)) {
    const called: CalledMethod = { service: contract.name, label: `${contract.name}.${name}`, method };
    stub[name] = (request: never, options?: CallOptions) => call(called, request, options);
  }
  return stub as Stub<M>;
}

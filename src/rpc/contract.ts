/**
 * A contract: what one side may ask and the other answers, as a value from which both halves are made and typed.
 *
 * A method is known on the wire by its number and a contract by its name, so either may be renamed in the code as long
 * as these stay. Requests and responses are messages of the codec; a field added later is unknown to an older peer,
 * which passes over it.
 */
import { assert, utf8Encode } from "../base/index.ts";
import type { Message } from "../base/index.ts";

/** How many messages go each way: one or a stream of them. */
export type MethodKind = "unary" | "serverStream" | "clientStream" | "bidirectional";

/**
 * One method. `Request` and `Response` are what decoding gives; the `…Init` types are what encoding takes, where fields
 * with a default may be left out.
 */
export interface Method<
  Kind extends MethodKind = MethodKind,
  Request = unknown,
  RequestInit = never,
  Response = unknown,
  ResponseInit = never,
> {
  readonly kind: Kind;
  /** 1 to 65,535, different from the numbers of the contract's other methods. */
  readonly number: number;
  readonly request: Message<Request, RequestInit>;
  readonly response: Message<Response, ResponseInit>;
}

export type Methods = Readonly<Record<string, Method>>;

export interface Contract<M extends Methods = Methods> {
  /** How the service is named on the wire: `holdfast.member.Store`. */
  readonly name: string;
  readonly methods: M;
}

/** The longest name of a contract, in bytes of UTF-8. */
export const contractNameSizeMax = 256;
const methodNumberMax = 65_535;

/** One request, one response. */
export function unary<Request, RequestInit, Response, ResponseInit>(
  number: number,
  request: Message<Request, RequestInit>,
  response: Message<Response, ResponseInit>,
): Method<"unary", Request, RequestInit, Response, ResponseInit> {
  return { kind: "unary", number, request, response };
}

/** One request, a stream of responses. */
export function serverStream<Request, RequestInit, Response, ResponseInit>(
  number: number,
  request: Message<Request, RequestInit>,
  response: Message<Response, ResponseInit>,
): Method<"serverStream", Request, RequestInit, Response, ResponseInit> {
  return { kind: "serverStream", number, request, response };
}

/** A stream of requests, one response. */
export function clientStream<Request, RequestInit, Response, ResponseInit>(
  number: number,
  request: Message<Request, RequestInit>,
  response: Message<Response, ResponseInit>,
): Method<"clientStream", Request, RequestInit, Response, ResponseInit> {
  return { kind: "clientStream", number, request, response };
}

/** A stream each way, independent of each other. */
export function bidirectional<Request, RequestInit, Response, ResponseInit>(
  number: number,
  request: Message<Request, RequestInit>,
  response: Message<Response, ResponseInit>,
): Method<"bidirectional", Request, RequestInit, Response, ResponseInit> {
  return { kind: "bidirectional", number, request, response };
}

/** Makes a contract. Two methods with one number, or a number out of bounds, are a bug of whoever writes it. */
export function contract<const M extends Methods>(name: string, methods: M): Contract<M> {
  assert(name !== "" && utf8Encode(name).length <= contractNameSizeMax, `"${name}" is no name for a contract`);
  const numbers = new Set<number>();
  for (const [property, { number }] of Object.entries(methods)) {
    const label = `${name}.${property} has the method number ${number}`;
    assert(
      Number.isInteger(number) && number >= 1 && number <= methodNumberMax,
      `${label}; give 1 to ${methodNumberMax}`,
    );
    assert(!numbers.has(number), `${label}, which another method has too`);
    numbers.add(number);
  }
  return { name, methods };
}

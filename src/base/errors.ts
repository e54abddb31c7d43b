/**
 * The one error class of Holdfast's public doors, and its closed list of codes.
 *
 * Pure layers return expected outcomes as values; a `HoldfastError` is thrown only where a caller outside the layer
 * would have to see it. A bug is not a `HoldfastError`: it is an `AssertionError` from `assert`, and the member stops.
 */

/** Every code a Holdfast error can have, with its gRPC status number and its HTTP status. */
export const errorCodes = {
  /** The request is malformed or over a limit; the same request will always fail. */
  invalid: { grpc: 3, http: 400 },
  /** The thing named does not exist. */
  notFound: { grpc: 5, http: 404 },
  /** The thing to be created exists already. */
  exists: { grpc: 6, http: 409 },
  /** A condition of the request no longer holds; read again and retry. */
  conflict: { grpc: 10, http: 409 },
  /** The history asked for has been trimmed or compacted. */
  trimmed: { grpc: 11, http: 410 },
  /** The log engine has been sealed; its successor takes the appends. */
  sealed: { grpc: 9, http: 409 },
  /** The other side cannot be reached, is stopping or has failed; retry later or elsewhere. */
  unavailable: { grpc: 14, http: 503 },
  /** The deadline passed first. */
  timeout: { grpc: 4, http: 504 },
  /** The caller cancelled the call. */
  cancelled: { grpc: 1, http: 499 },
  /** A limit on work in progress, memory or space is reached; retry with back-off. */
  exhausted: { grpc: 8, http: 429 },
  /** Stored or received bytes are not what was written. */
  corrupt: { grpc: 15, http: 500 },
  /** The caller may not do this. */
  denied: { grpc: 7, http: 403 },
} as const;

export type ErrorCode = keyof typeof errorCodes;

export interface HoldfastErrorOptions {
  /** True when the call may have taken effect although it failed. Default false. */
  readonly maybe?: boolean;
  readonly cause?: unknown;
}

/** A failure at a public door. `message` names the thing, the limit and the remedy. */
export class HoldfastError extends Error {
  override readonly name = "HoldfastError";
  readonly code: ErrorCode;
  /** True when the effect of the call is unknown: it may have happened, or may still happen. */
  readonly maybe: boolean;

  constructor(code: ErrorCode, message: string, options: HoldfastErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.maybe = options.maybe ?? false;
  }
}

/** Whether `value` is a code of the closed list; used when a code arrives from the wire. */
export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(errorCodes, value);
}

/** Gives `error` back if it is a `HoldfastError`, else wraps it as one with `code`. */
export function asHoldfastError(error: unknown, code: ErrorCode = "unavailable"): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new HoldfastError(code, message, { cause: error });
}

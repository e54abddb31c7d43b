/** Pushing jobs, in a transaction or not. */
import { HoldfastError } from "../../base/index.ts";
import { checkedWhole, encodeValue } from "../value.ts";
import type { QueueOperation } from "./queue-operation.ts";

export interface PushOptions {
  /** Milliseconds of store time before it can be pulled. Default 0. */
  readonly delayMs?: number | undefined;
  /** Larger ones are pulled first. A whole number from -2^31 to 2^31 - 1. Default 0. */
  readonly priority?: number | undefined;
  /**
   * While a job with this key is in the queue, and for `dedupMs` (default 0) from its push, another one with it is not
   * pushed. 1 to 256 characters.
   */
  readonly dedupKey?: string | undefined;
  readonly dedupMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Which delivery of which job, for the command that ends it. */
export interface DeliveredJob {
  readonly queue: string;
  readonly id: number;
  readonly attempt: number;
  readonly lease: bigint;
}

/** @internal */
export function pushBody(
  name: string,
  jobs: readonly (Omit<PushOptions, "signal"> & { readonly value: unknown })[],
): Extract<NonNullable<QueueOperation["operation"]>, { case: "push" }>["value"] {
  return {
    name,
    jobs: jobs.map(({ value, delayMs = 0, priority = 0, dedupKey = "", dedupMs = 0 }) => {
      if (!Number.isInteger(priority) || Math.abs(priority) > 0x7fff_ffff) {
        throw new HoldfastError(
          "invalid",
          `priority is ${priority}; it must be a whole number of 32 bits with its sign`,
        );
      }
      return {
        value: encodeValue(value, "a job"),
        priority,
        delayMs: checkedWhole(delayMs, "delayMs", 0),
        dedupKey,
        dedupMs: checkedWhole(dedupMs, "dedupMs", 0),
      };
    }),
  };
}

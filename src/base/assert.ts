/**
 * Assertions, always on. A failed assertion is a bug in Holdfast: it is never caught to be retried, and the member
 * that meets one stops.
 */

export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks a place that the types prove unreachable. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable case: ${String(value)}`);
}

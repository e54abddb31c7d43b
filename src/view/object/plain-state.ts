/** States of objects, which are what JSON holds: text, numbers, booleans, null, arrays and plain objects of these. */

/** A copy that has nothing in common with it. */
export function copyOf<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  return structuredClone(value);
}

/** Freezes it with all that it holds. */
export function frozen<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}

/** The first thing in it that would not come back from JSON as it is, and where; undefined if there is none. */
export function stateProblem(value: unknown, place: string): string | undefined {
  if (value === null || typeof value === "boolean") return undefined;
  if (typeof value === "string") return value.isWellFormed() ? undefined : `half of a surrogate pair at ${place}`;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return `${value} at ${place}`;
    return Object.is(value, -0) ? `-0 at ${place}` : undefined;
  }
  if (typeof value !== "object") return `${value === undefined ? "undefined" : `a ${typeof value}`} at ${place}`;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const problem = stateProblem(value[index], `${place}[${index}]`);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null)
    return `a ${(value.constructor as { readonly name?: string } | undefined)?.name ?? "strange object"} at ${place}`;
  if ("toJSON" in value) return `an object with toJSON at ${place}`;
  if (Object.hasOwn(value, "__proto__")) return `the name __proto__ at ${place}`;
  for (const [name, part] of Object.entries(value)) {
    // A name without a value is not there when it comes back, which only `in` tells.
    const problem = part === undefined ? `undefined at ${place}.${name}` : stateProblem(part, `${place}.${name}`);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/**
 * Branded numbers, so that a position is never passed where a revision is meant. Each is a whole number between 0 and
 * 2^53 - 1.
 */

declare const brand: unique symbol;
type Branded<Name extends string> = number & { readonly [brand]: Name };

/** The address of one record in the shared log: dense, from 0. */
export type Position = Branded<"Position">;
/** The count of applied commands that changed something, across all views of a store; 0 is the empty store. */
export type Revision = Branded<"Revision">;

export const position = (value: number): Position => value as Position;
export const revision = (value: number): Revision => value as Revision;

/**
 * Is a history linearizable: is there one order of all operations that agrees with what every client was told and with
 * which operation ended before which began (Herlihy and Wing, 1990)? Operations of unknown outcome may have happened at
 * any moment after their begin, or never.
 *
 * Revisions are used unless the history has none or they are not to be trusted: then `revisions: "ignored"` judges by the
 * values alone, which costs more, above all where lists or transactions join many keys.
 */
import { effectsOf } from "./effect.ts";
import { GaveUp, NotLinearizable } from "./not-linearizable.ts";
import type { Cell, Operation } from "./operation.ts";
import { absentValue, otherValue, partitions } from "./partition.ts";
import type { Partition, Step } from "./partition.ts";
import { narrowByRevisions } from "./revision-order.ts";
import { search } from "./search.ts";
import type { Impasse } from "./search.ts";
import { usefulOnes } from "./usefulness.ts";

export interface LinearizabilityOptions {
  /** What there was before the first operation. Default: nothing. */
  readonly initial?: readonly Cell[];
  /** Default "checked": also the revisions must be in the order of the operations. */
  readonly revisions?: "checked" | "ignored";
  /** Configurations of one part of the history after which it gives up. Default 1,000,000. */
  readonly countMax?: number;
}

export interface LinearizabilityAccount {
  /** Operations that had to be explained. */
  readonly operationCount: number;
  /** Groups of keys that were judged apart. */
  readonly partitionCount: number;
  /** Configurations that were looked at. */
  readonly configurationCount: number;
}

/** Throws `NotLinearizable`, with the operations that do not fit; or `GaveUp`, which says nothing about the history. */
export function checkLinearizable(
  operations: readonly Operation[],
  options: LinearizabilityOptions = {},
): LinearizabilityAccount {
  const { initial = [], revisions = "checked", countMax = 1_000_000 } = options;
  const { effects: all, sources } = effectsOf(operations, initial);
  const effects = [...all.filter(({ optional }) => !optional), ...usefulOnes(all, sources)];
  const free = revisions === "checked" ? narrowByRevisions(effects) : undefined;
  if (free === undefined) for (const effect of effects) effect.revision = effect.stateRevision = undefined;
  let configurationCount = 0;
  const parts = partitions(effects, initial);
  for (const partition of parts) {
    const found = search(partition, { countMax, free });
    configurationCount += found.count;
    if (found.outcome === "none") throw explained(partition, found);
    if (found.outcome === "gaveUp") {
      const what = `gave up after ${countMax.toLocaleString("en")} configurations (countMax)`;
      const keys = `${partition.steps.length} operations on ${keysText(partition.keys)}`;
      throw new GaveUp(`linearizability: ${what} of ${keys}; make the history shorter, or touch fewer keys together`);
    }
  }
  return { operationCount: effects.length, partitionCount: parts.length, configurationCount };
}

function keysText(keys: readonly string[]): string {
  const shown = keys.slice(0, 5).join(", ");
  return keys.length > 5 ? `${shown} and ${keys.length - 5} other keys` : shown;
}

function explained(partition: Partition, { misfit, order, pending, states }: Impasse): NotLinearizable {
  const what = `no order explains what ${misfit.effect.operation.client} was told`;
  const held = [...misfit.reads]
    .map(([cell]) => `${partition.keys[cell]} can only have held ${heldText(partition, cell, states)}`)
    .slice(0, 10);
  const why = held.length === 0 ? what : `${what}: ${held.join("; ")}`;
  return new NotLinearizable(why, {
    misfits: operationsOf([misfit]),
    prefix: operationsOf(order),
    pending: operationsOf(pending),
  });
}

function operationsOf(steps: readonly Step[]): Operation[] {
  return steps.map(({ effect }) => effect.operation);
}

function heldText({ values }: Partition, cell: number, states: readonly (readonly number[])[]): string {
  const texts = new Set<string>();
  for (const cells of states) {
    const value = cells[cell] as number;
    if (value === absentValue) texts.add("nothing");
    else texts.add(value === otherValue ? "a value that no client found" : (values[value] as string));
  }
  return [...texts].join(" or ");
}

/**
 * What is kept of a cron: one value, as of a register, in the maps' space `cron`, which changes only in one command with
 * the check that who changes it still has the cron's turn.
 */
import { operation } from "../command.ts";
import type { Operation } from "../command.ts";
import type { LockPlace } from "../lock/lock-state.ts";
import type { LockView } from "../lock/lock-view.ts";
import type { MapView } from "../map/map-view.ts";
import { registerKey } from "../map/maps.ts";
import { encodeValue } from "../value.ts";
import type { ViewTransaction } from "../view-transaction.ts";

/** As JSON. Times are milliseconds since the Unix epoch. */
export interface CronState {
  readonly schedule: string;
  readonly timeZone: string;
  /** The tick that was begun last; before the first: when the schedule was set. */
  readonly tickMs: number;
  /** How often the work of this tick was begun; 0 before the first tick. */
  readonly attempt: number;
  readonly done: boolean;
  /** Why the work of the last tick that is done failed; empty if it did not. */
  readonly error: string;
}

/** A tick whose work goes on. */
export interface BegunTick {
  /** @internal */
  readonly turn: LockPlace;
  /** @internal */
  readonly state: CronState;
}

export interface CronViews {
  readonly lock: LockView;
  readonly map: MapView;
}

/** What sets the state of a cron: `conflict`, for good, when the turn is over. */
export function stateOperations(views: CronViews, turn: LockPlace, state: CronState): [Operation, Operation] {
  const [check, set] = bodies(turn, state);
  return [operation(views.lock, check), operation(views.map, set)];
}

function bodies({ kind, name, fence }: LockPlace, state: CronState) {
  const check = { operation: { case: "check", value: { kind, name, fence } } } as const;
  const value = { key: registerKey, value: encodeValue(state), ifRevision: undefined, ifValue: undefined };
  return [check, { map: { space: "cron", name }, operation: { case: "set", value } }] as const;
}

/** `tx.finish`. */
export function finishTick(tx: ViewTransaction, views: CronViews, { turn, state }: BegunTick): void {
  const [check, set] = bodies(turn, { ...state, done: true, error: "" });
  tx.write(views.lock, check);
  tx.write(views.map, set);
}

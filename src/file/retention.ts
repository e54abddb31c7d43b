/**
 * Which snapshots to keep: the rules of `restic forget`. Each rule names snapshots to keep, and what none of them names may
 * go. The newest snapshot of an hour, a day, a week … stands for it. Days are those of UTC, weeks begin on Monday.
 *
 * A pure function of the times in the snapshots, which are store times: no clock is asked.
 */
import { HoldfastError } from "../base/index.ts";
import { operation } from "../view/index.ts";
import type { NamedSnapshot, SnapshotOperation, SnapshotResult, SnapshotSource, View } from "../view/index.ts";

export interface RetentionRules {
  /** The newest so many. */
  readonly last?: number | undefined;
  /** The newest of each of the last so many hours in which there is one; and so on. Infinity: of all of them. */
  readonly hourly?: number | undefined;
  readonly daily?: number | undefined;
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
  readonly yearly?: number | undefined;
  /** All that are at most so much older than the newest one, milliseconds. */
  readonly withinMs?: number | undefined;
}

export type RetentionReason = keyof RetentionRules;

export interface Retained<T> {
  readonly snapshot: T;
  /** The rules that keep it, in the order of `RetentionRules`; none: it may go. */
  readonly reasons: readonly RetentionReason[];
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** The number of the period in which a moment is: equal within one, and only there. */
const periodOf: Readonly<Record<Exclude<RetentionReason, "withinMs">, (timeMs: number, index: number) => number>> = {
  last: (_, index) => index,
  hourly: (timeMs) => Math.floor(timeMs / hourMs),
  daily: (timeMs) => Math.floor(timeMs / dayMs),
  // The epoch was a Thursday, three days after a Monday.
  weekly: (timeMs) => Math.floor((Math.floor(timeMs / dayMs) + 3) / 7),
  monthly: (timeMs) => monthOf(timeMs),
  yearly: (timeMs) => Math.floor(monthOf(timeMs) / 12),
};

/**
 * Months since the year 0 in the Gregorian calendar. Its cycle of 400 years is counted from a 1st of March, so that leap days
 * come last (as in H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
 */
function monthOf(timeMs: number): number {
  const days = Math.floor(timeMs / dayMs) + 719_468;
  const cycle = Math.floor(days / 146_097);
  const dayOfCycle = days - cycle * 146_097;
  const leaps = Math.floor(dayOfCycle / 1_460) - Math.floor(dayOfCycle / 36_524) + Math.floor(dayOfCycle / 146_096);
  const yearOfCycle = Math.floor((dayOfCycle - leaps) / 365);
  const leapDays = Math.floor(yearOfCycle / 4) - Math.floor(yearOfCycle / 100);
  const dayOfYear = dayOfCycle - 365 * yearOfCycle - leapDays;
  // The months from March on have 31, 30, 31, 30, 31 days, and again: 153 days for five of them.
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  return (cycle * 400 + yearOfCycle) * 12 + monthFromMarch + 2;
}

const periodRules = ["last", "hourly", "daily", "weekly", "monthly", "yearly"] as const;

/**
 * Judges the snapshots, newest first, by their times and, where those are equal, their revisions. While a rule has counts left the
 * oldest snapshot is kept for it too, so that history reaches back as far as it can. `invalid` without any rule.
 */
export function retained<T extends { readonly timeMs: number; readonly revision: number }>(
  snapshots: readonly T[],
  rules: RetentionRules,
): Retained<T>[] {
  checkRules(rules);
  const newestFirst = snapshots.toSorted((a, b) => b.timeMs - a.timeMs || b.revision - a.revision);
  const reasons = newestFirst.map((): RetentionReason[] => []);
  for (const rule of periodRules) {
    let left = rules[rule] ?? 0;
    let period: number | undefined;
    for (const [index, { timeMs }] of newestFirst.entries()) {
      if (left <= 0) break;
      const own = periodOf[rule](timeMs, index);
      if (own === period && index < newestFirst.length - 1) continue;
      period = own;
      left--;
      reasons[index]?.push(rule);
    }
  }
  const { withinMs } = rules;
  const newestMs = newestFirst[0]?.timeMs ?? 0;
  return newestFirst.map((snapshot, index) => {
    const own = reasons[index] as RetentionReason[];
    if (withinMs !== undefined && newestMs - snapshot.timeMs <= withinMs) own.push("withinMs");
    return { snapshot, reasons: own };
  });
}

function checkRules(rules: RetentionRules): void {
  for (const [name, value] of Object.entries(rules) as [string, number | undefined][]) {
    const known = name === "withinMs" || (periodRules as readonly string[]).includes(name);
    if (!known)
      throw new HoldfastError(
        "invalid",
        `there is no rule ${name}; the rules are ${periodRules.join(", ")} and withinMs`,
      );
    if (value === undefined || value === Infinity || (Number.isSafeInteger(value) && value >= 0)) continue;
    throw new HoldfastError("invalid", `${name} is ${value}; it is a whole number, 0 or more, or Infinity`);
  }
  if (rules.withinMs !== undefined || periodRules.some((rule) => (rules[rule] ?? 0) > 0)) return;
  throw new HoldfastError(
    "invalid",
    "no rule keeps anything, so that all snapshots would go; give one, such as last: 1",
  );
}

/** Deletions of one command. */
const commandCountMax = 4_096;

export interface RetainParts {
  readonly source: SnapshotSource;
  readonly view: View<SnapshotOperation, SnapshotResult>;
}

/**
 * Deletes the snapshots that no rule keeps, through the log, and answers how each was judged, newest first. One that was
 * deleted meanwhile is no error; one that has been made anew under its name is `conflict`, and none of its command is deleted.
 */
export async function retain(
  { source, view }: RetainParts,
  rules: RetentionRules,
  options: { readonly dryRun?: boolean | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<Retained<NamedSnapshot>[]> {
  const { dryRun = false, signal } = options;
  const judged = retained(await source.snapshots({ signal }), rules);
  const going = judged.filter(({ reasons }) => reasons.length === 0);
  if (dryRun) return judged;
  for (let at = 0; at < going.length; at += commandCountMax) {
    const snapshots = going
      .slice(at, at + commandCountMax)
      .map(({ snapshot }) => ({ name: snapshot.name, revision: snapshot.revision, lenient: true }));
    const body: SnapshotOperation = { operation: { case: "delete", value: { snapshots } } };
    const outcome = await source.propose([operation(view, body)], { signal });
    if (!outcome.ok) throw new HoldfastError(outcome.code, outcome.message, { maybe: outcome.maybe ?? false });
  }
  return judged;
}

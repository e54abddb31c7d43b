/**
 * Faults of a whole cluster as data: what happens to which member at which moment, so that a schedule can be printed,
 * kept in a file, replayed and made smaller. Members are named by their seats, 0 and up: a seat stays when the member in
 * it is replaced.
 *
 * 1. A schedule follows from the seed and the options alone.
 * 2. Every fault passes by itself: a machine that goes down comes back, what is blocked is unblocked. Whether the cluster
 *    as a whole can be expected to work afterwards is the injector's to watch over (`injector.ts`).
 */
import type { UnsyncedFate } from "../file.ts";
import type { Prng } from "../prng.ts";

type Member = { readonly seat: number };
type Lasting = { readonly forMs: number };

export type Fault =
  /** The power fails, and comes back. */
  | ({ readonly kind: "crash"; readonly unsynced: UnsyncedFate } & Member & Lasting)
  /**
   * The power fails at the disk's next-but-so-many change of a file whose path begins so, in the middle of it or when it is
   * done and nobody knows.
   */
  | ({
      readonly kind: "crashAtChange";
      readonly path: string;
      readonly distance: number;
      readonly moment: "during" | "after";
      readonly unsynced: UnsyncedFate;
    } & Member &
      Lasting)
  /** The process ends, the system goes on. */
  | ({ readonly kind: "kill" } & Member & Lasting)
  /** The power of the whole house fails. */
  | ({ readonly kind: "blackout"; readonly unsynced: UnsyncedFate } & Lasting)
  /** The process stands still and goes on without noticing. */
  | ({ readonly kind: "freeze" } & Member & Lasting)
  /** A bit of a file at rest turns; `at` from 0 to 1 chooses the file and the bit. */
  | ({ readonly kind: "rot"; readonly part: "blobs" | "chunks" | "checkpoints" | "log"; readonly at: number } & Member)
  /** The disk answers nothing. */
  | ({ readonly kind: "stall" } & Member & Lasting)
  | ({ readonly kind: "slowDisk"; readonly factor: number } & Member & Lasting)
  | ({ readonly kind: "fullDisk"; readonly freeSize: number } & Member & Lasting)
  /** The disk's next-but-so-many operation fails. */
  | ({ readonly kind: "diskError"; readonly distance: number } & Member)
  /** All connections of a member, or those between two, break. */
  | ({ readonly kind: "cut"; readonly other?: number } & Member)
  /** Nobody hears the member, nor does it hear anybody, clients included or not. */
  | ({ readonly kind: "isolate"; readonly clients: boolean } & Member & Lasting)
  /** Nothing gets from these seats to the others, nor, unless one-way, back. Clients are with everybody. */
  | ({ readonly kind: "partition"; readonly seats: readonly number[]; readonly oneWay: boolean } & Lasting)
  | ({ readonly kind: "slowNetwork"; readonly factor: number } & Lasting)
  | ({ readonly kind: "slowMember"; readonly factor: number } & Member & Lasting)
  /** A connection breaks now and then, by itself. */
  | ({ readonly kind: "flaky"; readonly chance: number } & Lasting)
  | ({ readonly kind: "clockJump"; readonly byMs: number } & Member)
  /** The member's clocks run at this rate from now on. */
  | ({ readonly kind: "drift"; readonly rate: number } & Member)
  | ({ readonly kind: "transfer" } & Member)
  | ({ readonly kind: "checkpoint" } & Member)
  /** A member joins in a free seat, with an empty disk. */
  | { readonly kind: "join" }
  /** The member is removed for good; its machine is switched off. */
  | ({ readonly kind: "remove" } & Member)
  /** The disk is lost; a new member takes the place of the one that was. */
  | ({ readonly kind: "replace" } & Member)
  /** A member is expected that never comes. */
  | { readonly kind: "expectNobody" };

export type FaultKind = Fault["kind"];

export interface ScheduledFault {
  readonly atMs: number;
  readonly fault: Fault;
}

export interface FaultOptions {
  readonly seatCount: number;
  /** When faults may begin. */
  readonly fromMs?: number;
  readonly durationMs: number;
  /** Mean time between two faults. Default 2,000. */
  readonly everyMs?: number;
  /** How often each kind comes, relative to the others. Default: `defaultWeights`; those left out do not come. */
  readonly weights?: Partial<Record<FaultKind, number>>;
}

const defaultWeights: Readonly<Record<FaultKind, number>> = {
  crash: 8,
  crashAtChange: 6,
  kill: 10,
  blackout: 1.5,
  freeze: 8,
  rot: 2,
  stall: 4,
  slowDisk: 3,
  fullDisk: 2,
  diskError: 3,
  cut: 8,
  isolate: 8,
  partition: 10,
  slowNetwork: 3,
  slowMember: 3,
  flaky: 2,
  clockJump: 4,
  drift: 2,
  transfer: 6,
  checkpoint: 3,
  join: 1.5,
  remove: 1.5,
  replace: 2,
  expectNobody: 0.5,
};

/** Clocks of real machines may be off by so much of the time that passes. */
export const driftMax = 1e-3;
const dayMs = 86_400_000;

/** In the order of their moments. */
export function makeSchedule(random: Prng, options: FaultOptions): ScheduledFault[] {
  const { fromMs = 0, durationMs, everyMs = 2_000, weights = defaultWeights } = options;
  const kinds = Object.entries(weights).filter(([, weight]) => weight > 0) as [FaultKind, number][];
  const schedule: ScheduledFault[] = [];
  if (kinds.length === 0) return schedule;
  for (let atMs = fromMs; ;) {
    // Exponential, so that faults also come close together and in the middle of others.
    atMs += Math.ceil(-Math.log(1 - random.float()) * everyMs);
    if (atMs >= durationMs) return schedule;
    schedule.push({ atMs, fault: makeFault(random, choose(random, kinds), options.seatCount) });
  }
}

function choose(random: Prng, kinds: readonly (readonly [FaultKind, number])[]): FaultKind {
  let left = random.float() * kinds.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [kind, weight] of kinds) {
    if (left < weight) return kind;
    left -= weight;
  }
  return (kinds.at(-1) as readonly [FaultKind, number])[0];
}

type Maker = (random: Prng, seat: number, seatCount: number) => Fault;

const fates: readonly UnsyncedFate[] = ["random", "random", "lost", "kept"];

/** From `low` to `high`, as likely around 10 as around 1,000. */
function spread(random: Prng, low: number, high: number): number {
  return Math.round(low * (high / low) ** random.float());
}

const makers: Readonly<Record<FaultKind, Maker>> = {
  crash: (random, seat) => ({ kind: "crash", seat, unsynced: random.pick(fates), forMs: spread(random, 1, 10_000) }),
  crashAtChange: (random, seat) => ({
    kind: "crashAtChange",
    seat,
    path: random.pick(["", "checkpoints", "blobs", "chunks", "raft", "log"]),
    distance: spread(random, 1, 40),
    moment: random.pick(["during", "after"] as const),
    unsynced: random.pick(fates),
    forMs: spread(random, 1, 2_000),
  }),
  kill: (random, seat) => ({ kind: "kill", seat, forMs: spread(random, 1, 5_000) }),
  blackout: (random) => ({ kind: "blackout", unsynced: random.pick(fates), forMs: spread(random, 10, 3_000) }),
  freeze: (random, seat) => ({ kind: "freeze", seat, forMs: spread(random, 100, 20_000) }),
  rot: (random, seat) => ({
    kind: "rot",
    seat,
    part: random.pick(["blobs", "chunks", "checkpoints", "log"] as const),
    at: random.float(),
  }),
  stall: (random, seat) => ({ kind: "stall", seat, forMs: spread(random, 100, 20_000) }),
  slowDisk: (random, seat) => ({
    kind: "slowDisk",
    seat,
    factor: spread(random, 3, 300),
    forMs: spread(random, 500, 10_000),
  }),
  fullDisk: (random, seat) => ({
    kind: "fullDisk",
    seat,
    freeSize: random.below(10_000),
    forMs: spread(random, 500, 10_000),
  }),
  diskError: (random, seat) => ({ kind: "diskError", seat, distance: 1 + random.below(20) }),
  cut: (random, seat, seatCount) => ({
    kind: "cut",
    seat,
    ...(seatCount > 1 && random.chance(0.5) && { other: (seat + 1 + random.below(seatCount - 1)) % seatCount }),
  }),
  isolate: (random, seat) => ({
    kind: "isolate",
    seat,
    clients: random.chance(0.3),
    forMs: spread(random, 200, 15_000),
  }),
  partition: (random, _, seatCount) => {
    const seats = random.shuffle(Array.from({ length: seatCount }, (__, index) => index));
    const count = 1 + random.below(Math.max(1, seatCount - 1));
    const side = seats.slice(0, count).toSorted((a, b) => a - b);
    return { kind: "partition", seats: side, oneWay: random.chance(0.4), forMs: spread(random, 200, 15_000) };
  },
  slowNetwork: (random) => ({ kind: "slowNetwork", factor: spread(random, 3, 300), forMs: spread(random, 500, 8_000) }),
  slowMember: (random, seat) => ({
    kind: "slowMember",
    seat,
    factor: spread(random, 10, 1_000),
    forMs: spread(random, 500, 10_000),
  }),
  flaky: (random) => ({
    kind: "flaky",
    chance: random.pick([0.001, 0.01, 0.05]),
    forMs: spread(random, 500, 8_000),
  }),
  clockJump: (random, seat) => ({
    kind: "clockJump",
    seat,
    // Now and then somebody sets the wrong day.
    byMs: (random.chance(0.5) ? 1 : -1) * (random.chance(0.3) ? dayMs : spread(random, 100, 600_000)),
  }),
  drift: (random, seat) => ({ kind: "drift", seat, rate: 1 + (2 * random.float() - 1) * driftMax }),
  transfer: (_, seat) => ({ kind: "transfer", seat }),
  checkpoint: (_, seat) => ({ kind: "checkpoint", seat }),
  join: () => ({ kind: "join" }),
  remove: (_, seat) => ({ kind: "remove", seat }),
  replace: (_, seat) => ({ kind: "replace", seat }),
  expectNobody: () => ({ kind: "expectNobody" }),
};

function makeFault(random: Prng, kind: FaultKind, seatCount: number): Fault {
  return makers[kind](random, random.below(seatCount), seatCount);
}

/** One line, for people. */
export function describeFault({ atMs, fault }: ScheduledFault): string {
  const { kind, ...rest } = fault;
  const parts = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `${String(atMs).padStart(7)} ms  ${kind}${parts.length > 0 ? ` ${parts.join(" ")}` : ""}`;
}

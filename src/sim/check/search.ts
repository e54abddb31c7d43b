/**
 * The search for an order that explains one partition of a history: Wing and Gong's algorithm ("Testing and Verifying
 * Concurrent Objects", 1993) in the form of Lowe ("Testing for Linearizability", 2017): just in time, and with the
 * configurations that were reached remembered.
 *
 * It walks through begins and ends in the order of time and keeps every configuration that what ended so far allows: what
 * the keys hold, and which of the steps under way have happened already. At the end of a step, each configuration is
 * carried on in all ways in which that step happens, last; one in which it cannot is dropped. When none is left, the
 * history up to there is in no order. No recursion, and what is behind is forgotten, so memory is bounded by `countMax`.
 *
 * What keeps it small, each without changing the answer:
 *
 *  1. A step that changes nothing happens as soon as the state allows it: that closes no other way.
 *  2. Before a step that ends, only those steps are tried that can matter to it (`#relevant`): the others can as well
 *     happen later.
 *  3. Of optional steps that do the same, the first begun is used; a configuration that used more of them, and is
 *     otherwise the same as another, is dropped. One that touches a single key is used only where a step that matters
 *     waits for just that.
 *  4. A write whose value nobody found happens right before the next write of its key, if it can, where nobody sees it.
 *  5. Steps whose revisions are known happen in that order; each other one takes a revision that nobody else is known to
 *     have, the lowest that is left.
 *
 * One thing is given up for size: of more than `variantCountMax` configurations that differ only in which optional steps
 * they used, one is made that used as few of each as any of them. It may explain what no order does, where many operations
 * of unknown outcome do the same; what it refuses is in no order.
 */
import { absentValue, applied } from "./partition.ts";
import type { OptionalGroup, Partition, Slot, Step } from "./partition.ts";
import type { FreeRevisions } from "./revision-order.ts";
import { isNoMore, leastUsage, usedCount, withOneMore } from "./usage.ts";
import type { Usage } from "./usage.ts";

export type Found =
  | { readonly outcome: "explained"; readonly count: number }
  /** More than `countMax` configurations. */
  | { readonly outcome: "gaveUp"; readonly count: number }
  | ({ readonly outcome: "none"; readonly count: number } & Impasse);

/** The first step at whose end no configuration is left. */
export interface Impasse {
  readonly misfit: Step;
  /** What happened before, in the order of one configuration that was left. */
  readonly order: readonly Step[];
  readonly pending: readonly Step[];
  /** All that the keys can have held while the step was under way. */
  readonly states: readonly (readonly number[])[];
}

interface Path {
  readonly step: Step;
  readonly before: Path | undefined;
  readonly size: number;
}

interface Configuration {
  readonly cells: readonly number[];
  /** Of the last change of each cell (5). */
  readonly revisions: readonly number[];
  /** Indexes of steps under way that have happened, ascending. */
  readonly done: readonly number[];
  readonly used: Usage;
  readonly path: Path | undefined;
}

const variantCountMax = 8;

interface OpenGroup {
  readonly index: number;
  readonly group: OptionalGroup;
  /** How many of its steps have begun. */
  begunCount: number;
}

/** Configurations, without those that are no better than another (3). */
class Configurations {
  readonly #byState = new Map<string, Configuration[]>();

  /** Undefined if it brings nothing; else what to go on with. */
  add(configuration: Configuration): Configuration | undefined {
    const key = `${configuration.cells.join()}|${configuration.done.join()}`;
    const known = this.#byState.get(key);
    if (known === undefined) {
      this.#byState.set(key, [configuration]);
      return configuration;
    }
    if (known.some((other) => isNoWorse(other, configuration))) return undefined;
    const left = known.filter((other) => !isNoWorse(configuration, other));
    left.push(configuration);
    if (left.length <= variantCountMax) {
      this.#byState.set(key, left);
      return configuration;
    }
    const least = left.reduce(leastOf);
    this.#byState.set(key, [least]);
    return least;
  }

  list(): Configuration[] {
    return [...this.#byState.values()].flat();
  }
}

function isNoWorse(a: Configuration, b: Configuration): boolean {
  return isNoMore(a.used, b.used) && a.revisions.every((revision, cell) => revision <= (b.revisions[cell] as number));
}

function leastOf(a: Configuration, b: Configuration): Configuration {
  const revisions = a.revisions.map((revision, cell) => Math.min(revision, b.revisions[cell] as number));
  return { ...a, revisions, used: leastUsage(a.used, b.used) };
}

function inserted(done: readonly number[], index: number): readonly number[] {
  const at = done.findIndex((other) => other > index);
  return at < 0 ? [...done, index] : [...done.slice(0, at), index, ...done.slice(at)];
}

export interface SearchOptions {
  /** Configurations after which it gives up. */
  readonly countMax: number;
  /** Undefined if revisions do not count. */
  readonly free: FreeRevisions | undefined;
}

export function search(partition: Partition, options: SearchOptions): Found {
  return new Search(partition, options).run();
}

class Search {
  readonly #steps: readonly Step[];
  readonly #groups: readonly OptionalGroup[];
  readonly #countMax: number;
  readonly #free: FreeRevisions | undefined;
  #count = 0;
  #configurations: Configuration[];
  /** Steps under way, as indexes: those that change something, in the order of their revisions if (5), and the others. */
  #writes: number[] = [];
  #reads: number[] = [];
  /** Optional groups that have begun and may still be needed. */
  #open: OpenGroup[] = [];
  #nextGroup = 0;
  /** The end of the step that ends. */
  #nowMs = Number.NEGATIVE_INFINITY;

  constructor({ steps, groups, initial }: Partition, { countMax, free }: SearchOptions) {
    this.#steps = steps;
    this.#groups = groups;
    this.#countMax = countMax;
    this.#free = free;
    const revisions = initial.map(() => 0);
    this.#configurations = [{ cells: initial, revisions, done: [], used: [], path: undefined }];
  }

  #step(index: number): Step {
    return this.#steps[index] as Step;
  }

  run(): Found {
    const steps = this.#steps;
    const ends = steps.map((_, index) => index).toSorted((a, b) => this.#compareEnds(a, b));
    let nextBegin = 0;
    for (const end of ends) {
      // What begins at the moment at which another ends is under way together with it.
      for (; nextBegin < steps.length && this.#step(nextBegin).begin <= this.#step(end).end; nextBegin += 1) {
        this.#begin(nextBegin);
      }
      this.#openGroups(this.#step(end).end);
      const states = this.#end(end);
      if (this.#count > this.#countMax) return { outcome: "gaveUp", count: this.#count };
      if (states !== undefined) return { outcome: "none", count: this.#count, ...this.#impasse(end, states) };
    }
    return { outcome: "explained", count: this.#count };
  }

  /** At one moment, steps that change nothing end first: what follows by revision must not come before them (5). */
  #compareEnds(a: number, b: number): number {
    const [first, second] = [this.#step(a), this.#step(b)];
    return (
      first.end - second.end ||
      Math.min(first.writes.length, 1) - Math.min(second.writes.length, 1) ||
      (first.revision ?? 0) - (second.revision ?? 0)
    );
  }

  #openGroups(nowMs: number): void {
    this.#open = this.#open.filter(({ group }) => group.until >= nowMs);
    for (; ; this.#nextGroup += 1) {
      const group = this.#groups[this.#nextGroup];
      if (group === undefined || (group.begins[0] as number) > nowMs) break;
      if (group.until >= nowMs) this.#open.push({ index: this.#nextGroup, group, begunCount: 0 });
    }
    for (const open of this.#open) {
      while ((open.group.begins[open.begunCount] ?? Number.POSITIVE_INFINITY) <= nowMs) open.begunCount += 1;
    }
  }

  #begin(index: number): void {
    const step = this.#step(index);
    if (step.writes.length > 0) {
      this.#writes.push(index);
      return;
    }
    this.#reads.push(index);
    this.#configurations = this.#configurations.map((configuration) => {
      if (!this.#allows(configuration, step)) return configuration;
      const path = pathWith(configuration.path, step);
      return { ...configuration, done: inserted(configuration.done, index), path };
    });
  }

  /** Whether a step can happen now, as far as the order of revisions goes and, if it changes nothing, in every way. */
  #allows({ cells, done, revisions }: Configuration, step: Step): boolean {
    const { revision = Infinity, stateRevision = Infinity } = step;
    for (const index of this.#writes) {
      const other = this.#step(index).revision;
      if (other === undefined) continue;
      if (step.revision !== undefined && other < step.revision && !done.includes(index)) return false;
      if (step.stateRevision !== undefined && other <= step.stateRevision !== done.includes(index)) return false;
    }
    if (step.writes.some(([cell]) => (revisions[cell] as number) >= revision)) return false;
    if (step.expects.some(([cell]) => (revisions[cell] as number) > stateRevision)) return false;
    return step.writes.length > 0 || applied(step, cells) !== undefined;
  }

  /** Carries all configurations on to where the step has happened. Gives what the keys held if none is left. */
  #end(end: number): (readonly number[])[] | undefined {
    const next = new Configurations();
    const visited = new Configurations();
    const states: (readonly number[])[] = [];
    this.#nowMs = this.#step(end).end;
    const relevant = new Relevant(this.#steps, end, [...this.#writes, ...this.#reads], this.#open);
    const stack = this.#configurations.toReversed();
    let found = false;
    for (let configuration = stack.pop(); configuration !== undefined; configuration = stack.pop()) {
      if (configuration.done.includes(end)) {
        found = true;
        const done = configuration.done.filter((index) => index !== end);
        // What nobody needs any more makes no difference between configurations.
        const used = configuration.used.filter(
          ([index]) => (this.#groups[index] as OptionalGroup).until >= this.#nowMs,
        );
        next.add({ ...configuration, done, used });
        continue;
      }
      const best = visited.add(configuration);
      if (best === undefined) continue;
      this.#count += 1;
      if (this.#count > this.#countMax) return undefined;
      if (states.length < 1_000) states.push(best.cells);
      this.#carryOn(best, relevant, stack);
    }
    if (!found) return states;
    this.#configurations = next.list();
    this.#writes = this.#writes.filter((index) => index !== end);
    this.#reads = this.#reads.filter((index) => index !== end);
    return undefined;
  }

  #carryOn(configuration: Configuration, relevant: Relevant, stack: Configuration[]): void {
    for (const open of relevant.wantedGroups(configuration)) {
      const after = this.#withOptional(configuration, open);
      if (after !== undefined) stack.push(after);
    }
    for (const index of relevant.writes) {
      if (configuration.done.includes(index)) continue;
      const step = this.#step(index);
      if (!this.#allows(configuration, step)) continue;
      const cells = applied(step, configuration.cells);
      if (cells === undefined) continue;
      const hidden = this.#withHidden(configuration, index);
      const path = pathWith(hidden.path, step);
      const revisions = this.#revisionsAfter(hidden, step, step.begin);
      if (revisions === undefined) continue;
      stack.push(this.#withReads({ ...hidden, cells, revisions, done: inserted(hidden.done, index), path }));
    }
  }

  /**
   * Undefined if there is no revision for the step. What changes nothing takes none: the deletion of a key that is not
   * there.
   */
  #revisionsAfter({ revisions, cells }: Configuration, step: Step, begin: number): readonly number[] | undefined {
    if (this.#free === undefined) return revisions;
    const changes = step.writes.some(([cell, value]) => value !== absentValue || cells[cell] !== absentValue);
    if (!changes) return revisions;
    let { revision } = step;
    if (revision === undefined) {
      const touched = [...step.reads.keys(), ...step.writes.map(([cell]) => cell)];
      const above = Math.max(...touched.map((cell) => revisions[cell] as number));
      revision = this.#free.next(above, begin, this.#nowMs);
      if (revision === undefined) return undefined;
    }
    const after = revisions.slice();
    for (const [cell] of step.writes) after[cell] = revision;
    return after;
  }

  /** Writes that nobody sees happen before one that covers them (4). */
  #withHidden(configuration: Configuration, index: number): Configuration {
    const cover = this.#step(index);
    if (cover.revision !== undefined) return configuration;
    let { done, path, revisions } = configuration;
    for (const other of this.#writes) {
      const step = this.#step(other);
      if (!step.hides || other === index || step.revision !== undefined || done.includes(other)) continue;
      const [cell] = step.writes[0] as readonly [number, number];
      if (cover.reads.has(cell) || !cover.writes.some(([written]) => written === cell)) continue;
      const after = this.#revisionsAfter({ ...configuration, revisions }, step, step.begin);
      if (after === undefined) continue;
      revisions = after;
      done = inserted(done, other);
      path = pathWith(path, step);
    }
    return { ...configuration, done, path, revisions };
  }

  /** What changes nothing happens as soon as it can (1). */
  #withReads(configuration: Configuration): Configuration {
    let { done, path } = configuration;
    for (const index of this.#reads) {
      if (done.includes(index)) continue;
      const step = this.#step(index);
      if (!this.#allows(configuration, step)) continue;
      done = inserted(done, index);
      path = pathWith(path, step);
    }
    return { ...configuration, done, path };
  }

  #withOptional(configuration: Configuration, open: OpenGroup): Configuration | undefined {
    const { index, begunCount } = open;
    const { step, begins } = open.group;
    const count = usedCount(configuration.used, index);
    if (count >= begunCount) return undefined;
    const cells = applied(step, configuration.cells);
    if (cells === undefined || cells.every((value, cell) => value === configuration.cells[cell])) return undefined;
    const used = withOneMore(configuration.used, index);
    const path = pathWith(configuration.path, step);
    const revisions = this.#revisionsAfter(configuration, step, begins[count] as number);
    if (revisions === undefined) return undefined;
    return this.#withReads({ cells, revisions, done: configuration.done, used, path });
  }

  #impasse(end: number, states: readonly (readonly number[])[]): Impasse {
    const longest = this.#configurations.reduce((best, other) =>
      (other.path?.size ?? 0) > (best.path?.size ?? 0) ? other : best,
    );
    const order: Step[] = [];
    for (let path = longest.path; path !== undefined; path = path.before) order.push(path.step);
    const misfit = this.#step(end);
    const pending = [...this.#writes, ...this.#reads]
      .filter((index) => index !== end && !longest.done.includes(index))
      .map((index) => this.#step(index));
    return { misfit, order: order.toReversed(), pending, states };
  }
}

function pathWith(before: Path | undefined, step: Step): Path {
  return { step, before, size: (before?.size ?? 0) + 1 };
}

/**
 * What can matter to a step that ends. A step matters to a write that it would be covered by, or that changes what it
 * must find, or that must find what it changes; and to one that changes nothing, if it writes what that must find.
 */
class Relevant {
  readonly #steps: readonly Step[];
  /** Indexes. */
  readonly writes: number[] = [];
  readonly reads: number[] = [];
  readonly groups: OpenGroup[] = [];

  constructor(steps: readonly Step[], end: number, pending: readonly number[], open: readonly OpenGroup[]) {
    this.#steps = steps;
    const isFirst = (index: number) => index === end || this.#step(index).revision !== undefined;
    let left = pending.filter((index) => !isFirst(index));
    let leftGroups = open;
    const queue = pending.filter(isFirst).map((index) => this.#take(index));
    for (let step = queue.pop(); step !== undefined; step = queue.pop()) {
      const present = step;
      const found = left.filter((index) => mattersTo(this.#step(index), present));
      if (found.length > 0) left = left.filter((index) => !found.includes(index));
      for (const index of found) queue.push(this.#take(index));
      const foundGroups = leftGroups.filter(({ group }) => mattersTo(group.step, present));
      if (foundGroups.length > 0) leftGroups = leftGroups.filter((group) => !foundGroups.includes(group));
      this.groups.push(...foundGroups);
      for (const { group } of foundGroups) queue.push(group.step);
    }
    // Lower revisions first, so that they are tried first.
    this.writes.sort((a, b) => (this.#step(a).revision ?? 0) - (this.#step(b).revision ?? 0) || a - b);
  }

  #step(index: number): Step {
    return this.#steps[index] as Step;
  }

  #take(index: number): Step {
    const step = this.#step(index);
    (step.writes.length > 0 ? this.writes : this.reads).push(index);
    return step;
  }

  /** The optional groups that a step that matters waits for, or one of these groups that is itself waited for (3). */
  wantedGroups({ cells, done }: Configuration): OpenGroup[] {
    const wanted: OpenGroup[] = [];
    let left: OpenGroup[] = [];
    for (const open of this.groups) (open.group.simple ? left : wanted).push(open);
    if (left.length === 0) return wanted;
    const waiting: Step[] = wanted.map(({ group }) => group.step);
    for (const index of [...this.writes, ...this.reads]) if (!done.includes(index)) waiting.push(this.#step(index));
    for (let step = waiting.pop(); step !== undefined && left.length > 0; step = waiting.pop()) {
      const others: OpenGroup[] = [];
      for (const open of left) {
        const [slot] = open.group.step.writes;
        if (slot === undefined || !isHelped(step, cells, slot)) {
          others.push(open);
          continue;
        }
        wanted.push(open);
        waiting.push(open.group.step);
      }
      left = others;
    }
    return wanted;
  }
}

/** Whether a step that cannot happen yet comes nearer to it by a write. */
function isHelped(step: Step, cells: readonly number[], [cell, value]: Slot): boolean {
  if (!step.reads.has(cell)) return false;
  const present = cells[cell] as number;
  const isFound = ([at, wanted]: Slot) => at === cell && wanted === value;
  if (present !== value && step.expects.some(isFound)) return true;
  if (step.refusedBy.some(([at, refused]) => at === cell && refused === present && refused !== value)) return true;
  return step.deleted !== undefined && (present === absentValue) !== (value === absentValue);
}

function mattersTo(step: Step, relevant: Step): boolean {
  const isWrite = relevant.writes.length > 0;
  for (const [cell, value] of step.writes) {
    const found = relevant.reads.get(cell);
    if (found === value || found === -1 || (isWrite && found !== undefined)) return true;
    if (isWrite && relevant.writes.some(([written]) => written === cell)) return true;
  }
  return relevant.writes.some(([cell, value]) => {
    const needed = step.reads.get(cell);
    return needed !== undefined && needed !== value;
  });
}

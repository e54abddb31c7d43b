/**
 * Whether transactions that were seen are strictly serializable: as if they had run one after another, each at a moment
 * between its begin and its end. Judged by cycles in the graph of what must come before what (Adya, "Weak Consistency: A
 * Generalized Theory and Optimistic Implementations for Distributed Transactions", 1999):
 *
 * | edge        | from A to B                                                  |
 * |-------------|--------------------------------------------------------------|
 * | write-read  | B has read what A wrote                                      |
 * | write-write | B has written over what A wrote                              |
 * | read-write  | A has read what B wrote over, absence and ranges included    |
 * | real time   | A had ended when B began                                     |
 *
 * 1. Every value is written once, so that whoever reads it says whose it is.
 * 2. The order of the versions of an item is given (`versions`): of a history that the store itself keeps, or of who has
 *    read what before he wrote. Writes that nobody knows to have happened are in it only if they have.
 * 3. An item is absent before its first version and behind each deletion, so a read of its absence does not say which
 *    absence it has seen. Those are left out that contradict the edges so far; between the first and the last that are left
 *    the reader stands, and this is drawn. It is repeated until nothing changes. So there is no false alarm; what is missed is
 *    where each read alone can be placed, and only all together cannot.
 * 4. A range read is a read of every item that could be in it, also of those that were not there: so a phantom is an edge
 *    like any other.
 */
import { Violation } from "./violation.ts";

export interface SeenTransaction {
  /** For messages. */
  readonly name: string;
  readonly beginMs: number;
  /** Infinite where nobody knows whether or when it took effect. */
  readonly endMs: number;
  /** The value of every item that it read from others; undefined for one that was not there. */
  readonly reads: ReadonlyMap<string, string | undefined>;
  /** What it wrote; undefined deletes. */
  readonly writes: ReadonlyMap<string, string | undefined>;
}

/** The values that an item had, oldest first, those that it was deleted in between included as undefined. */
export type Versions = ReadonlyMap<string, readonly Version[]>;

export interface Version {
  readonly value: string | undefined;
  /** The name of the transaction that wrote it. */
  readonly writer: string;
}

interface Edge {
  readonly to: number;
  readonly why: string;
}

/** Of the times at which an item was absent, numbered by the version before each (-1: none), those that a read may have seen. */
interface Absence {
  readonly item: string;
  readonly list: readonly Version[];
  readonly gaps: readonly number[];
  /** Of `gaps`: the first and the last that are left. */
  low: number;
  high: number;
}

/** Throws a `Violation` that names the transactions of a cycle; answers how many edges it looked at. */
export function checkSerializable(transactions: readonly SeenTransaction[], versions: Versions): number {
  const graph = new Graph(transactions);
  for (const [item, list] of versions) graph.follow(item, list);
  for (const [index, { reads }] of transactions.entries())
    for (const [item, value] of reads) graph.read(index, item, value, versions.get(item) ?? []);
  graph.inTime();
  graph.placeAbsences();
  const cycle = graph.cycle();
  if (cycle !== undefined) throw new Violation("serializability", `no order of these transactions exists:\n${cycle}`);
  return graph.edgeCount;
}

class Graph {
  readonly #transactions: readonly SeenTransaction[];
  readonly #byName = new Map<string, number>();
  /** Of each transaction; behind them the moments of real time. */
  readonly #edges: Edge[][];
  edgeCount = 0;
  /** By who read them. */
  readonly #absences = new Map<number, Absence[]>();

  constructor(transactions: readonly SeenTransaction[]) {
    this.#transactions = transactions;
    this.#edges = transactions.map(() => []);
    for (const [index, { name }] of transactions.entries()) this.#byName.set(name, index);
  }

  #edge(from: number, to: number, why: string): void {
    if (from === to) return;
    this.#edges[from]?.push({ to, why });
    this.edgeCount++;
  }

  follow(item: string, list: readonly Version[]): void {
    for (let at = 1; at < list.length; at++) {
      const [before, after] = [this.#atOrBefore(list, at - 1), this.#writer(list[at])];
      if (before !== undefined && after !== undefined) this.#edge(before, after, `writes over its ${item}`);
    }
  }

  #writer(version: Version | undefined): number | undefined {
    return version === undefined ? undefined : this.#byName.get(version.writer);
  }

  /** Of the versions up to `at`, the last whose writer is one of the transactions; its writer. */
  #atOrBefore(list: readonly Version[], at: number): number | undefined {
    for (let place = at; place >= 0; place--) {
      const writer = this.#writer(list[place]);
      if (writer !== undefined) return writer;
    }
    return undefined;
  }

  #atOrBehind(list: readonly Version[], at: number): number | undefined {
    for (let place = at; place < list.length; place++) {
      const writer = this.#writer(list[place]);
      if (writer !== undefined) return writer;
    }
    return undefined;
  }

  read(reader: number, item: string, value: string | undefined, list: readonly Version[]): void {
    const { name } = this.#transactions[reader] as SeenTransaction;
    if (value === undefined) return this.#readAbsence(reader, name, item, list);
    const at = list.findIndex((version) => version.value === value);
    if (at < 0) throw new Violation("serializability", `${name} has read ${value} of ${item}, which it never was`);
    const [writer, next] = [this.#atOrBefore(list, at), this.#atOrBehind(list, at + 1)];
    if (writer !== undefined) this.#edge(writer, reader, `is read by it (${item} = ${value})`);
    if (next !== undefined) this.#edge(reader, next, `reads ${item} before it is written over`);
  }

  #readAbsence(reader: number, name: string, item: string, list: readonly Version[]): void {
    // What it has read was so before it wrote itself.
    const own = list.findIndex(({ writer }) => writer === name);
    const gaps = [-1, ...list.keys()].filter((at) => list[at]?.value === undefined && (own < 0 || at < own));
    const absence = { item, list, gaps, low: 0, high: gaps.length - 1 };
    const others = this.#absences.get(reader);
    if (others === undefined) this.#absences.set(reader, [absence]);
    else others.push(absence);
    this.#drawBehind(reader, absence);
    this.#drawBefore(reader, absence);
  }

  /** Behind the deletion that made the first of the absences. */
  #drawBehind(reader: number, { item, list, gaps, low }: Absence): void {
    const deleter = this.#atOrBefore(list, gaps[low] as number);
    if (deleter !== undefined) this.#edge(deleter, reader, `has deleted ${item} before it finds none`);
  }

  /** Before what was written after the last of the absences. */
  #drawBefore(reader: number, { item, list, gaps, high }: Absence): void {
    const next = this.#atOrBehind(list, (gaps[high] as number) + 1);
    if (next !== undefined) this.#edge(reader, next, `finds no ${item} before it writes one`);
  }

  /** Narrows each absence that was read to those that the edges allow (3). */
  placeAbsences(): void {
    for (let again = true; again;) {
      again = false;
      const into = this.#reversed();
      for (const [reader, absences] of this.#absences) {
        if (absences.every(({ low, high }) => low === high)) continue;
        const [before, behind] = [reached(into, reader), reached(this.#edges, reader)];
        for (const absence of absences) if (this.#narrow(reader, absence, before, behind)) again = true;
      }
    }
  }

  /** One absence is always left: where none fits, the last that is tried makes a cycle. */
  #narrow(reader: number, absence: Absence, before: Reached, behind: Reached): boolean {
    const { list, gaps, low, high } = absence;
    const end = (at: number) => this.#atOrBehind(list, (gaps[at] as number) + 1);
    const start = (at: number) => this.#atOrBefore(list, gaps[at] as number);
    while (absence.low < absence.high && end(absence.low) !== reader && before.has(end(absence.low))) absence.low++;
    while (absence.low < absence.high && behind.has(start(absence.high))) absence.high--;
    if (absence.low !== low) this.#drawBehind(reader, absence);
    if (absence.high !== high) this.#drawBefore(reader, absence);
    return absence.low !== low || absence.high !== high;
  }

  #reversed(): Edge[][] {
    const into: Edge[][] = this.#edges.map(() => []);
    for (const [from, edges] of this.#edges.entries())
      for (const { to, why } of edges) into[to]?.push({ to: from, why });
    return into;
  }

  /**
   * A moment for each end, in order: the transaction leads to its end, each moment to the next, and the last before a
   * begin to the one that begins. So there are not as many edges as pairs.
   */
  inTime(): void {
    const ended = [...this.#transactions.entries()].filter(([, { endMs }]) => Number.isFinite(endMs));
    const ends = ended.toSorted(([, one], [, other]) => one.endMs - other.endMs);
    const first = this.#edges.length;
    for (const [at, [index]] of ends.entries()) {
      this.#edges.push([]);
      this.#edge(index, first + at, "ends");
      if (at > 0) this.#edge(first + at - 1, first + at, "");
    }
    for (const [index, { beginMs }] of this.#transactions.entries()) {
      let [low, high] = [0, ends.length];
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((ends[middle]?.[1].endMs ?? Number.POSITIVE_INFINITY) < beginMs) low = middle + 1;
        else high = middle;
      }
      if (low > 0) this.#edge(first + low - 1, index, "before it begins");
    }
  }

  /** A cycle as text: found by a search in depth, without recursion, since it may be long. */
  cycle(): string | undefined {
    const state = new Uint8Array(this.#edges.length);
    for (let root = 0; root < this.#edges.length; root++) {
      if (state[root] !== 0) continue;
      const path: { readonly node: number; next: number; why: string }[] = [{ node: root, next: 0, why: "" }];
      state[root] = 1;
      for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
        const edge = this.#edges[top.node]?.[top.next++];
        if (edge === undefined) {
          state[top.node] = 2;
          path.pop();
        } else if (state[edge.to] === 1) {
          const start = path.findIndex(({ node }) => node === edge.to);
          const steps = path.slice(start).map(({ node }, at, all) => this.#step(node, all[at + 1]?.why ?? edge.why));
          return [...steps, this.#nameOf(edge.to)].filter((line) => line !== "").join("\n");
        } else if (state[edge.to] === 0) {
          state[edge.to] = 1;
          path.push({ node: edge.to, next: 0, why: edge.why });
        }
      }
    }
    return undefined;
  }

  #nameOf(node: number): string {
    return this.#transactions[node]?.name ?? "";
  }

  #step(node: number, why: string): string {
    const name = this.#nameOf(node);
    return name === "" ? why : `${name} ${why}`;
  }
}

/** Its own place is not in it, unless a cycle leads there. */
type Reached = ReadonlySet<number | undefined>;

function reached(edges: readonly (readonly Edge[])[], from: number): Reached {
  const found = new Set<number>();
  const left = [from];
  for (let node = left.pop(); node !== undefined; node = left.pop()) {
    for (const { to } of edges[node] ?? []) {
      if (found.has(to)) continue;
      found.add(to);
      left.push(to);
    }
  }
  return found;
}

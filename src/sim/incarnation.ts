/**
 * One life of a machine, from its start to its crash. Everything that a simulated process owns (timers, disk calls,
 * connections) belongs to an incarnation and dies with it: what is pending never settles, and what is asked of a dead
 * incarnation's doors has no effect and no answer.
 */
export class Incarnation {
  readonly machine: string;
  /** 1 for the first. */
  readonly number: number;
  #alive = true;

  constructor(machine: string, number: number) {
    this.machine = machine;
    this.number = number;
  }

  get alive(): boolean {
    return this.#alive;
  }

  die(): void {
    this.#alive = false;
  }
}

/** What a dead machine's calls return: a promise that nothing will settle. */
export function never<T>(): Promise<T> {
  return new Promise<T>(() => {});
}

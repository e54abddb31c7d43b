/** Work of which so much is under way at once and no more. The first failure ends it. */
import { Signal } from "../base/index.ts";

export class Tasks {
  readonly #countMax: number;
  readonly #sizeMax: number;
  readonly #done = new Signal();
  #count = 0;
  #size = 0;
  #failure: { readonly error: unknown } | undefined;

  /** At most `countMax` tasks at once, and of more than one no more than `sizeMax` of whatever `add` counts. */
  constructor(countMax: number, sizeMax = Infinity) {
    this.#countMax = countMax;
    this.#sizeMax = sizeMax;
  }

  /** Starts a task when there is room for it. Throws what a task before it failed with. */
  async add(run: () => Promise<void>, size = 0): Promise<void> {
    while (this.#failure === undefined && this.#count > 0 && this.#full(size)) await this.#done.wait();
    this.#check();
    this.#count++;
    this.#size += size;
    void this.#run(run, size);
  }

  #full(size: number): boolean {
    return this.#count >= this.#countMax || this.#size + size > this.#sizeMax;
  }

  async #run(run: () => Promise<void>, size: number): Promise<void> {
    try {
      await run();
    } catch (error) {
      this.#failure ??= { error };
    }
    this.#count--;
    this.#size -= size;
    this.#done.notify();
  }

  /** Whether a task has failed. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Resolves when nothing is under way, however that ended. */
  async settled(): Promise<void> {
    while (this.#count > 0) await this.#done.wait();
  }

  /** The same, then throws the first failure. */
  async finish(): Promise<void> {
    await this.settled();
    this.#check();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/**
 * Do all members that have applied the log up to one position have the same state there? Told of roots as members come
 * by them: at checkpoints, after catching up, at the end of a run.
 */
import { Violation } from "./violation.ts";

export interface RootSighting {
  readonly member: string;
  /** One past the last record that was applied. */
  readonly position: number;
  /** In hexadecimal, or any other text that is the same for equal roots only. */
  readonly root: string;
}

/** Positions that are remembered, so that a long run does not fill the memory. */
const positionCountMax = 100_000;

export class RootChecker {
  readonly #sightings = new Map<number, RootSighting>();

  observe(sighting: RootSighting): void {
    const { member, position, root } = sighting;
    const known = this.#sightings.get(position);
    if (known === undefined) {
      this.#sightings.set(position, sighting);
      const oldest = this.#sightings.keys().next();
      if (this.#sightings.size > positionCountMax && oldest.done !== true) this.#sightings.delete(oldest.value);
    } else if (known.root !== root) {
      const what = `at position ${position}, ${known.member} has the root ${known.root} and ${member} has ${root}`;
      throw new Violation("roots", what);
    }
  }

  /** How many positions have been seen on any member. */
  get positionCount(): number {
    return this.#sightings.size;
  }
}

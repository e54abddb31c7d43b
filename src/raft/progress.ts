/**
 * What a leader knows of another member, and how fast it may send.
 *
 * | state     | left by                                                     | meaning                                        |
 * |-----------|-------------------------------------------------------------|------------------------------------------------|
 * | probe     | `accepted` → replicate, `toCatchUp`                         | one message at a time, until the logs agree    |
 * | replicate | `toProbe` (refused, unreachable), `toCatchUp`               | a pipeline, within the limits                  |
 * | catchUp   | `accepted` → replicate                                      | it needs entries that are gone                 |
 *
 * 1. match < next. In `replicate`, everything up to next - 1 is on the way or there.
 */
import type { MemberId } from "./configuration.ts";
import type { MemberProgress } from "./protocol.ts";

interface InFlight {
  readonly lastIndex: number;
  readonly size: number;
}

export class Progress {
  readonly member: MemberId;
  state: MemberProgress["state"] = "probe";
  match = 0;
  next: number;
  /** Something was heard since the last check, and between the two before. */
  active: boolean;
  #wasActive = false;
  /** In `probe`: a message is on the way. */
  waiting = false;
  /** Entries were asked for from storage. */
  fetching = false;
  /** What it was told last. */
  sentCommit = 0;
  sentRound = 0;
  echoedRound = 0;
  /** While it learns: when it has this entry, it has all that there was at `roundTick`. */
  roundIndex: number;
  roundTick: number;
  caughtUp = false;
  #inFlight: InFlight[] = [];
  #inFlightSize = 0;

  constructor(member: MemberId, next: number, tick: number) {
    this.member = member;
    this.next = next;
    this.active = true;
    this.roundIndex = next - 1;
    this.roundTick = tick;
  }

  hasRoom(countMax: number, sizeMax: number): boolean {
    return this.#inFlight.length < countMax && this.#inFlightSize < sizeMax;
  }

  /** It is not silent, as far as one can know. */
  get answers(): boolean {
    return this.active || this.#wasActive;
  }

  endPeriod(): void {
    this.#wasActive = this.active;
    this.active = false;
  }

  /** Entries up to `lastIndex` were sent. */
  sent(lastIndex: number, size: number): void {
    if (this.state === "probe") {
      this.waiting = true;
      return;
    }
    this.next = lastIndex + 1;
    this.#inFlight.push({ lastIndex, size });
    this.#inFlightSize += size;
  }

  /** It has everything up to `index`. True if that is news. */
  accepted(index: number): boolean {
    while (this.#inFlight.length > 0 && (this.#inFlight[0] as InFlight).lastIndex <= index) {
      this.#inFlightSize -= (this.#inFlight.shift() as InFlight).size;
    }
    const news = index > this.match;
    if (news) this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.waiting = false;
    if (this.state !== "replicate") {
      this.next = this.match + 1;
      this.#begin("replicate");
    }
    return news;
  }

  /** It has everything up to `index`, which does not help it on. */
  knownToHave(index: number): void {
    this.match = Math.max(this.match, index);
    this.next = Math.max(this.next, index + 1);
  }

  /** Messages may be lost: begin again behind what is known to be there. */
  toProbe(next = this.match + 1): void {
    this.next = Math.max(next, this.match + 1);
    this.#begin("probe");
  }

  toCatchUp(): void {
    this.#begin("catchUp");
  }

  #begin(state: MemberProgress["state"]): void {
    this.state = state;
    this.waiting = false;
    this.fetching = false;
    this.#inFlight = [];
    this.#inFlightSize = 0;
  }

  status(): MemberProgress {
    const { member, state, match, next, active } = this;
    return { member, state, match, next, active };
  }
}

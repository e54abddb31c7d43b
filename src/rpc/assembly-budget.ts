/**
 * How many bytes of unfinished large messages one connection may hold. Whoever begins such a message reserves its whole
 * size before its peer may send more than the window, and waits in line for it; a message with a reservation can always
 * be finished, so nobody waits for somebody who waits.
 */
interface Reservation {
  readonly size: number;
  readonly granted: () => void;
  state: "waiting" | "held" | "over";
}

export class AssemblyBudget {
  readonly #sizeMax: number;
  #size = 0;
  readonly #line: Reservation[] = [];
  #closed = false;

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  /** Bytes reserved. */
  get size(): number {
    return this.#size;
  }

  /** Calls `granted`, now or later. Gives what ends the reservation or the wait for it. */
  reserve(size: number, granted: () => void): () => void {
    const reservation: Reservation = { size, granted, state: "waiting" };
    this.#line.push(reservation);
    this.#grant();
    return () => {
      if (reservation.state === "held") this.#size -= size;
      reservation.state = "over";
      this.#grant();
    };
  }

  /** The connection is over: nobody is granted anything any more. */
  close(): void {
    this.#closed = true;
  }

  #grant(): void {
    while (!this.#closed) {
      const first = this.#line[0];
      if (first === undefined) return;
      if (first.state === "waiting") {
        if (this.#size > 0 && this.#size + first.size > this.#sizeMax) return;
        first.state = "held";
        this.#size += first.size;
        first.granted();
      }
      this.#line.shift();
    }
  }
}

/**
 * Notices that the peer of a connection is gone although the connection is not: its process is frozen, its machine lost
 * its network.
 *
 * 1. After `keepAliveMs` in silence the peer is asked for a sign of life, and given up after `keepAliveTimeoutMs` more.
 * 2. Where an answer is expected (`expect`) and nothing has come since, the peer is asked within `answerMs`, and given up
 *    after `answerTimeoutMs` more. What was sent meanwhile may be on its way over a slow line, with the question behind
 *    it: for every 128 bytes a millisecond is added.
 * 3. Who was stopped itself finds its timers due before it can read what has come meanwhile: so the peer is given up a
 *    turn later, if nothing was heard in that turn either.
 * 4. There is one timer for each of the two, however many calls are made: `expect` and `hear` are a few assignments.
 */
import type { Clock, Timer } from "../base/index.ts";

export interface KeepAliveOptions {
  readonly keepAliveMs: number;
  readonly keepAliveTimeoutMs: number;
  /** Of clients (2). */
  readonly answers?: AnswerOptions;
}

interface AnswerOptions {
  readonly answerMs: number;
  readonly answerTimeoutMs: number;
}

interface KeepAliveOwner {
  /** Ask the peer for a sign of life. */
  ping(): void;
  /** The peer has given none. `how` tells for how long and by which options. */
  givenUp(how: string): void;
}

/** Bytes that a slow line carries in a millisecond. */
const slowLineSize = 128;

export class KeepAlive {
  readonly #clock: Clock;
  readonly #options: KeepAliveOptions;
  readonly #owner: KeepAliveOwner;
  /** Counts signs of life. */
  #heardCount = 0;
  #stopped = false;
  #opened = false;

  #silence: Timer;
  #heardBefore = 0;
  #asked = false;

  /** An answer is expected and nothing was heard since; then, and only then, `#answer` must be set. */
  #expecting = false;
  #answer: Timer | undefined;
  /** Bytes sent since the last sign of life. */
  #sentSize = 0;

  constructor(clock: Clock, options: KeepAliveOptions, owner: KeepAliveOwner) {
    this.#clock = clock;
    this.#options = options;
    this.#owner = owner;
    this.#silence = clock.schedule(options.keepAliveMs, this.#checkSilence);
  }

  /** The peer speaks the protocol: only then can it be asked. */
  open(): void {
    this.#opened = true;
  }

  /** Something has come from the peer, or went to it where nothing more could be sent. */
  hear(): void {
    this.#heardCount++;
    this.#expecting = false;
    this.#sentSize = 0;
  }

  sent(size: number): void {
    this.#sentSize += size;
  }

  /** Something was sent that the peer will answer. */
  expect(): void {
    if (this.#expecting) return;
    this.#expecting = true;
    if (this.#answer === undefined) this.#awaitAnswer();
  }

  stop(): void {
    this.#stopped = true;
    this.#silence.cancel();
    this.#answer?.cancel();
  }

  readonly #checkSilence = (): void => {
    const { keepAliveMs, keepAliveTimeoutMs } = this.#options;
    if (this.#heardCount !== this.#heardBefore) {
      this.#heardBefore = this.#heardCount;
      this.#asked = false;
      this.#silence = this.#clock.schedule(keepAliveMs, this.#checkSilence);
    } else if (this.#asked || !this.#opened) {
      const limit = `${keepAliveMs + keepAliveTimeoutMs} ms without a sign of life (keepAliveMs, keepAliveTimeoutMs)`;
      this.#giveUp(limit, this.#checkSilence);
    } else {
      this.#asked = true;
      this.#owner.ping();
      this.#silence = this.#clock.schedule(keepAliveTimeoutMs, this.#checkSilence);
    }
  };

  #awaitAnswer(): void {
    const { answers } = this.#options;
    if (answers === undefined) return;
    this.#answer = this.#clock.schedule(answers.answerMs, () => this.#checkAnswer(answers));
  }

  #checkAnswer({ answerMs, answerTimeoutMs }: AnswerOptions): void {
    this.#answer = undefined;
    if (!this.#expecting) return;
    const heardBefore = this.#heardCount;
    this.#owner.ping();
    const patienceMs = answerTimeoutMs + Math.floor(this.#sentSize / slowLineSize);
    const goOn = () => {
      this.#answer = undefined;
      // A call that was begun after the sign of life expects the next.
      if (this.#expecting) this.#awaitAnswer();
    };
    this.#answer = this.#clock.schedule(patienceMs, () => {
      if (this.#heardCount !== heardBefore) return goOn();
      const limit = `no answer to a call for ${answerMs} ms, nor to a ping for ${patienceMs} ms`;
      this.#giveUp(`${limit} (answerMs, answerTimeoutMs)`, goOn);
    });
  }

  /** Unless something is heard within this turn (3); then `goOn` is called. */
  #giveUp(how: string, goOn: () => void): void {
    const heardBefore = this.#heardCount;
    this.#clock.defer(() => {
      if (this.#stopped) return;
      if (this.#heardCount !== heardBefore) goOn();
      else this.#owner.givenUp(how);
    });
  }
}

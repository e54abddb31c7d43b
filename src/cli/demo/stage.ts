/**
 * Where the demo is seen: on a terminal a picture, redrawn some times a second; elsewhere a line for each thing that
 * happens, with the seconds since the beginning; nothing at all where no stream is given.
 */
import type { WriteStream } from "node:tty";
import { durationText } from "../output.ts";
import type { DemoCluster } from "./cluster.ts";
import type { Load } from "./load.ts";
import { pictureOf, Screen } from "./picture.ts";
import type { SceneMember } from "./picture.ts";

const sliceMs = 250;
const sliceCountMax = 400;

export class Stage {
  readonly #stream: WriteStream | undefined;
  readonly #screen: Screen | undefined;
  readonly #startedMs = performance.now();
  readonly #events: string[] = [];
  readonly #rates: number[] = [];
  #cluster: DemoCluster | undefined;
  #load: Load | undefined;
  #timer: NodeJS.Timeout | undefined;
  #counted = 0;

  constructor(stream: WriteStream | undefined) {
    this.#stream = stream;
    const moves = stream?.isTTY === true && process.env["TERM"] !== "dumb";
    this.#screen = moves ? new Screen(stream) : undefined;
  }

  /** Something has happened. */
  say(text: string): void {
    const line = `${durationText(performance.now() - this.#startedMs).padStart(7)}  ${text}`;
    this.#events.push(line);
    if (this.#screen === undefined) this.#stream?.write(`${line}\n`);
    else this.#draw();
  }

  /** From now on this is what is seen, until `rest`. */
  show(cluster: DemoCluster, load?: Load): void {
    this.#cluster = cluster;
    this.#load = load;
    this.#timer ??= setInterval(() => this.#tick(), sliceMs);
  }

  /** The picture stays as it is. */
  rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  close(): void {
    this.rest();
    this.#screen?.close();
  }

  #tick(): void {
    const acknowledged = this.#load?.ledger.acknowledged ?? 0;
    this.#rates.push(acknowledged - this.#counted);
    if (this.#rates.length > sliceCountMax) this.#rates.shift();
    this.#counted = acknowledged;
    this.#draw();
  }

  #draw(): void {
    if (this.#cluster === undefined) return;
    this.#screen?.draw(
      pictureOf({
        elapsedMs: performance.now() - this.#startedMs,
        members: this.#members(this.#cluster),
        rates: this.#rates,
        sliceMs,
        acknowledged: this.#load?.ledger.acknowledged ?? 0,
        longestPauseMs: this.#load?.longestPauseMs ?? 0,
        events: this.#events,
      }),
    );
  }

  /** A member that has not been started yet, or is gone for good and replaced, is not in the picture. */
  #members(cluster: DemoCluster): SceneMember[] {
    const known = cluster.list()?.members ?? [];
    return cluster.members
      .filter(({ name, process }) => process !== undefined || known.some((one) => one.name === name))
      .map(({ name, condition, report }) => {
        const info = known.find((one) => one.name === name);
        const role = info === undefined ? "" : info.leader ? "leader" : info.role;
        return { name, condition, role, position: report?.status.applied };
      });
  }
}

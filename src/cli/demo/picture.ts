/**
 * The picture of the demo: what is drawn (`pictureOf`, which knows no terminal), and a screen that redraws it in place.
 *
 * A line is a list of pieces, each with its style, so that it can be cut to the width of the terminal: styles have no
 * width. Colours go where `NO_COLOR` and the terminal allow them.
 */
import type { WriteStream } from "node:tty";
import { styleText } from "node:util";
import { countText, durationText } from "../output.ts";
import type { MemberCondition } from "./cluster.ts";

type Style = "bold" | "dim" | "green" | "yellow" | "red" | "cyan";

interface Piece {
  readonly text: string;
  readonly style?: Style | undefined;
}

export type Line = readonly Piece[];

export interface SceneMember {
  readonly name: string;
  readonly condition: MemberCondition;
  /** As the cluster knows it: `leader`, `voter`, `learner`, `leaving`; empty while it is not known. */
  readonly role: string;
  /** One past the last record that it has applied; undefined while it does not answer. */
  readonly position: number | undefined;
}

export interface Scene {
  readonly elapsedMs: number;
  readonly members: readonly SceneMember[];
  /** Acknowledgements in each of the last slices of time, oldest first; the slice in milliseconds. */
  readonly rates: readonly number[];
  readonly sliceMs: number;
  readonly acknowledged: number;
  readonly longestPauseMs: number;
  /** What has happened, oldest first. */
  readonly events: readonly string[];
}

const barWidth = 24;
const rateWidth = 60;
const eventCount = 6;
const ticks = "▁▂▃▄▅▆▇█";

export function pictureOf(scene: Scene): Line[] {
  const top = Math.max(1, ...scene.members.map(({ position }) => position ?? 0));
  const nameWidth = Math.max(...scene.members.map(({ name }) => name.length));
  const recent = scene.events.slice(-eventCount);
  return [
    [
      { text: "Holdfast demo", style: "bold" },
      { text: `  ${durationText(scene.elapsedMs)}`, style: "dim" },
    ],
    [],
    ...scene.members.map((member) => memberLine(member, nameWidth, top)),
    [],
    rateLine(scene),
    [
      { text: `  ${countText(scene.acknowledged)}`, style: "bold" },
      { text: " acknowledged, longest pause " },
      { text: durationText(scene.longestPauseMs), style: "bold" },
    ],
    [],
    ...recent.map((text, index): Line => [{ text: `  ${text}`, style: index === recent.length - 1 ? "cyan" : "dim" }]),
  ];
}

function memberLine({ name, condition, role, position }: SceneMember, nameWidth: number, top: number): Line {
  const lives = condition === "running";
  const leads = lives && role === "leader";
  const apart = condition === "cut off" || condition === "starting";
  const mark = leads ? "◆" : lives ? "●" : apart ? "◌" : "✕";
  const style = leads ? "green" : lives ? undefined : apart ? "yellow" : "red";
  const what = (lives ? role : condition).padEnd(9);
  const at = position ?? 0;
  const filled = Math.round((at / top) * barWidth);
  const bar = `${"█".repeat(filled)}${"░".repeat(barWidth - filled)}`;
  return [
    { text: `  ${mark} ${name.padEnd(nameWidth)}  ${what}`, style },
    { text: ` ${bar}`, style: lives ? "green" : "dim" },
    { text: position === undefined ? "  no answer" : `  position ${countText(at)}`, style: "dim" },
  ];
}

/** A bar a slice of time: the pauses are what there is to see. */
function rateLine({ rates, sliceMs }: Scene): Line {
  const shown = rates.slice(-rateWidth);
  const most = Math.max(1, ...shown);
  const bars = shown.map((rate) =>
    rate === 0 ? " " : (ticks[Math.min(ticks.length - 1, Math.floor((rate / most) * ticks.length))] ?? ""),
  );
  // Of the last second, so that the number can be read.
  const last = shown.slice(-Math.max(1, Math.round(1_000 / sliceMs)));
  const perSecond =
    last.length === 0 ? 0 : last.reduce((sum, rate) => sum + rate, 0) / ((last.length * sliceMs) / 1_000);
  return [
    { text: `  ${countText(Math.round(perSecond)).padStart(6)} ops/s `, style: "bold" },
    { text: bars.join(""), style: "cyan" },
  ];
}

/** The line as a terminal shows it: at most `width` characters. */
export function clip(line: Line, width: number, stream?: WriteStream): string {
  let left = width;
  let text = "";
  for (const piece of line) {
    const shown = piece.text.slice(0, left);
    left -= shown.length;
    text += piece.style === undefined || shown === "" ? shown : styled(piece.style, shown, stream);
  }
  return text;
}

function styled(style: Style, text: string, stream: WriteStream | undefined): string {
  return stream === undefined ? text : styleText(style, text, { stream });
}

/** Draws pictures over one another on a terminal; the cursor is hidden meanwhile, and `close` brings it back. */
export class Screen {
  readonly #stream: WriteStream;
  readonly #restore = () => this.#showCursor();
  #height = 0;

  constructor(stream: WriteStream) {
    this.#stream = stream;
    // Whatever ends the process, the terminal has its cursor again.
    process.once("exit", this.#restore);
    this.#stream.write("\u001b[?25l");
  }

  draw(lines: readonly Line[]): void {
    const { columns, rows } = this.#stream;
    // What does not fit would scroll, and then could not be drawn over: the last lines go.
    const shown = lines.slice(0, Math.max(1, rows - 1));
    const back = this.#height > 0 ? `\u001b[${this.#height}A` : "";
    const text = shown.map((line) => `\u001b[2K${clip(line, columns - 1, this.#stream)}\n`).join("");
    // What the last picture had below this one goes.
    this.#stream.write(`${back}\r${text}\u001b[J`);
    this.#height = shown.length;
  }

  close(): void {
    process.off("exit", this.#restore);
    this.#showCursor();
  }

  #showCursor(): void {
    this.#stream.write("\u001b[?25h");
  }
}

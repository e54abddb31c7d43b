/** How the `file` and `snapshot` commands show what they find: paths, modes, times, durations; and how they read sizes. */
import { InvalidArgumentError } from "commander";
import { pathBytes } from "../base/index.ts";
import type { FileRecord } from "../file/index.ts";
import { textOf } from "./output.ts";

/** A path on one line: what a terminal would obey, and bytes of no character, stand as `\x1b`. */
export function pathForPeople(path: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this looks for
  return path.replaceAll(/[\u0000-\u001f\u007f-\u009f\udc80-\udcff\u2028\u2029]/gu, (character) => {
    const code = character.charCodeAt(0);
    if (character === "\n") return "\\n";
    if (character === "\t") return "\\t";
    return code > 0xff && code < 0xdc80
      ? `\\u${code.toString(16)}`
      : `\\x${(code & 0xff).toString(16).padStart(2, "0")}`;
  });
}

/** `path`, or where it is no text `path64`: the bytes in base64. */
export function pathJson(path: string): { path: string } | { path64: string } {
  const bytes = pathBytes(path);
  return textOf(bytes) === path ? { path } : { path64: Buffer.from(bytes).toString("base64") };
}

/** `drwxr-xr-x`; where nobody gave a mode, dashes. */
export function modeText({ type, mode }: Pick<FileRecord, "type" | "mode">): string {
  const letter = { file: "-", folder: "d", link: "l" }[type];
  if (mode === undefined) return `${letter}---------`;
  const bits = Array.from((mode & 0o777).toString(2).padStart(9, "0"), (bit, at) =>
    bit === "1" ? "rwx"[at % 3] : "-",
  );
  const special = (bit: number, at: number, letterOf: string) => {
    if ((mode & bit) !== 0) bits[at] = bits[at] === "-" ? letterOf.toUpperCase() : letterOf;
  };
  special(0o4000, 2, "s");
  special(0o2000, 5, "s");
  special(0o1000, 8, "t");
  return letter + bits.join("");
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** Local: `2026-11-23`. */
export function dayText(time: Date): string {
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

/** Local time to the minute: `2026-11-23 22:04`. */
export function timeText(ms: number): string {
  const time = new Date(ms);
  if (Number.isNaN(time.getTime())) return "?";
  return `${dayText(time)} ${two(time.getHours())}:${two(time.getMinutes())}`;
}

/** The same to the second, with the offset from UTC. */
export function preciseTimeText(ms: number): string {
  const time = new Date(ms);
  if (Number.isNaN(time.getTime())) return "?";
  const offset = -time.getTimezoneOffset();
  const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${timeText(ms)}:${two(time.getSeconds())} ${zone}`;
}

/** A record as JSON: what is not known is left out. */
export function recordJson(record: FileRecord): Record<string, unknown> {
  const { type, target, metadata, contentType, modifiedNs } = record;
  return {
    ...pathJson(record.path),
    type,
    ...(type === "file" && { size: record.size, hash: record.hash }),
    ...(target !== undefined && { target: textOf(pathBytes(target)) ?? pathForPeople(target) }),
    ...(record.mode !== undefined && { mode: record.mode.toString(8).padStart(4, "0") }),
    ...(record.uid !== undefined && { uid: record.uid }),
    ...(record.gid !== undefined && { gid: record.gid }),
    // Nanoseconds do not fit a JSON number.
    ...(modifiedNs !== undefined && { modifiedNs: String(modifiedNs) }),
    ...(contentType !== "" && { contentType }),
    ...(Object.keys(metadata).length > 0 && { metadata }),
    revision: record.revision,
    createRevision: record.createRevision,
    version: record.version,
    writtenMs: record.writtenMs,
  };
}

const sizeUnits: Readonly<Record<string, number>> = { "": 1, k: 1_024, m: 1_048_576, g: 1_073_741_824 };

/** Commander's parser for sizes: `4096`, `128k`, `2M`; the letters are powers of 1,024. */
export function parseSize(text: string): number {
  const match = /^(\d+)([kmg]?)(?:i?b)?$/i.exec(text);
  const value = Number(match?.[1]) * (sizeUnits[match?.[2]?.toLowerCase() ?? ""] ?? Number.NaN);
  if (Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError("It must be a size in bytes, such as 4096, 128k or 2M.");
}

/** A size as `parseSize` reads it: `128k`. */
export function chunkSizeText(size: number): string {
  if (size >= 1_048_576 && size % 1_048_576 === 0) return `${size / 1_048_576}M`;
  return size >= 1_024 && size % 1_024 === 0 ? `${size / 1_024}k` : String(size);
}

const durationUnits: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_557_600_000,
};

/** Commander's parser for durations, to milliseconds: `0`, `90s`, `12h`, `7d`, `4w`, `1y`, `forever`. */
export function parseDuration(text: string): number {
  if (text === "forever") return Infinity;
  if (text === "0") return 0;
  const match = /^(\d+)([smhdwy])$/.exec(text);
  const value = Math.round(Number(match?.[1]) * (durationUnits[match?.[2] ?? ""] ?? Number.NaN));
  if (Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError("It must be a duration, such as 90s, 12h, 7d, 4w, 1y, 0 or forever.");
}

/** `7 days`, `forever`. */
export function keepText(ms: number): string {
  if (ms === Infinity) return "forever";
  if (ms === 0) return "not at all";
  for (const [noun, size] of [
    ["day", 86_400_000],
    ["hour", 3_600_000],
    ["minute", 60_000],
  ] as const) {
    if (ms >= size && ms % size === 0) return `${ms / size} ${noun}${ms === size ? "" : "s"}`;
  }
  return `${ms / 1_000} s`;
}

/** Commander's parser for how many are kept: a number, or `all`. */
export function parseKept(text: string): number {
  if (text === "all") return Infinity;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a whole number, 0 or more, or all.");
}

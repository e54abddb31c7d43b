/**
 * When a cron schedule ticks. Takes an expression of five fields (minute, hour, day of the month, month, day of the week)
 * or one of `@hourly @daily @midnight @weekly @monthly @yearly @annually`, and a time zone; gives the first tick after a
 * time. All times are milliseconds since 1970 in UTC; no clock is read here, so that store time can be used.
 *
 * A field is a list, by commas, of `*`, `a`, `a-b`, each with `/step` behind it if wished (`a/step` goes to the end of the
 * field). Months and days of the week have names of three letters; Sunday is 0 and 7. Where both days are restricted
 * (neither begins with `*`), one of them is enough, as in every cron.
 *
 * 1. `next(t)` > t, and it is a whole minute.
 * 2. Where the clocks of the zone go forward, a tick in the hour that is left out comes as much later as they go; where
 *    they go back, a tick in the hour that comes twice is the first of the two. If the hours begin with `*`, the schedule
 *    goes by the time that passes instead: nothing in the hour left out, and both of the two.
 */
import { HoldfastError } from "../../base/index.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
/** A 29th of February can be eight years away, over a year such as 2100. */
const daysMax = 8 * 366 + 1;
const textSizeMax = 256;

interface Field {
  readonly name: string;
  readonly first: number;
  readonly last: number;
  /** Names of the values from `first` on. */
  readonly names: readonly string[];
}

const minuteField: Field = { name: "minute", first: 0, last: 59, names: [] };
const hourField: Field = { name: "hour", first: 0, last: 23, names: [] };
const dayField: Field = { name: "day of the month", first: 1, last: 31, names: [] };
const monthNames = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const monthField: Field = { name: "month", first: 1, last: 12, names: monthNames };
const weekdayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const weekdayField: Field = { name: "day of the week", first: 0, last: 7, names: weekdayNames };

const shortcuts: ReadonlyMap<string, string> = new Map([
  ["@hourly", "0 * * * *"],
  ["@daily", "0 0 * * *"],
  ["@midnight", "0 0 * * *"],
  ["@weekly", "0 0 * * 0"],
  ["@monthly", "0 0 1 * *"],
  ["@yearly", "0 0 1 1 *"],
  ["@annually", "0 0 1 1 *"],
]);

/** The offset of a zone from UTC at a time, in milliseconds. */
type Offset = (timeMs: number) => number;

export class Schedule {
  readonly text: string;
  readonly timeZone: string;
  readonly #minutes: readonly number[];
  readonly #hours: readonly number[];
  readonly #days: ReadonlySet<number>;
  readonly #months: ReadonlySet<number>;
  readonly #weekdays: ReadonlySet<number>;
  readonly #eitherDay: boolean;
  readonly #byElapsed: boolean;
  readonly #offset: Offset;

  /** `invalid` for an expression that is none or never ticks, and for a zone that is not known here. */
  constructor(text: string, timeZone = "UTC") {
    if (text.length > textSizeMax) {
      throw new HoldfastError("invalid", `schedule has ${text.length} characters; the limit is ${textSizeMax}`);
    }
    const trimmed = text.trim().toLowerCase();
    const fields = (shortcuts.get(trimmed) ?? trimmed).split(/\s+/);
    const [minute, hour, day, month, weekday] = fields;
    if (fields.length !== 5 || !minute || !hour || !day || !month || !weekday) {
      throw problem(text, "needs five fields (minute hour day month weekday) or a shortcut such as @hourly");
    }
    this.text = text;
    this.timeZone = timeZone;
    this.#minutes = parseField(text, minuteField, minute);
    this.#hours = parseField(text, hourField, hour);
    this.#days = new Set(parseField(text, dayField, day));
    this.#months = new Set(parseField(text, monthField, month));
    this.#weekdays = new Set(parseField(text, weekdayField, weekday).map((value) => value % 7));
    this.#eitherDay = !day.startsWith("*") && !weekday.startsWith("*");
    this.#byElapsed = hour.startsWith("*");
    this.#offset = offsetOf(timeZone);
    // From a leap year: every date that there is comes within the days looked through.
    if (this.#find(0) === undefined) throw problem(text, "never ticks: there is no such day");
  }

  /** The first tick after this time. */
  next(afterMs: number): number {
    const found = this.#find(afterMs);
    if (found === undefined)
      throw new HoldfastError("exhausted", `schedule "${this.text}" has no tick after ${afterMs}`);
    return found;
  }

  #find(afterMs: number): number | undefined {
    // A day earlier, for a day that ends twice.
    const firstDay = Math.floor((afterMs + this.#offset(afterMs)) / dayMs) - 1;
    for (let day = firstDay; day <= firstDay + daysMax; day++) {
      if (!this.#matches(day)) continue;
      const tick = this.#firstOn(day * dayMs, afterMs);
      if (tick !== undefined) return tick;
    }
    return undefined;
  }

  /** `day` counts from 1970 on, by the calendar of the zone. */
  #matches(day: number): boolean {
    const date = dateOf(day);
    if (!this.#months.has(date.month)) return false;
    const byDay = this.#days.has(date.day);
    // The first day of 1970 was a Thursday.
    const byWeekday = this.#weekdays.has((((day + 4) % 7) + 7) % 7);
    return this.#eitherDay ? byDay || byWeekday : byDay && byWeekday;
  }

  /** The first tick of a day after a time; the day begins at `startMs` of the zone's own clocks. */
  #firstOn(startMs: number, afterMs: number): number | undefined {
    const lowMs = startMs - dayMs - 2 * hourMs;
    const highMs = startMs + 2 * dayMs + 2 * hourMs;
    const before = this.#offset(lowMs);
    const after = this.#offset(highMs);
    const changeMs = before === after ? highMs : changeBetween(this.#offset, lowMs, highMs, before);
    let first: number | undefined;
    for (const hour of this.#hours) {
      for (const minute of this.#minutes) {
        const clockMs = startMs + hour * hourMs + minute * minuteMs;
        for (const tick of this.#instants(clockMs, before, after, changeMs)) {
          if (tick > afterMs && (first === undefined || tick < first)) first = tick;
        }
        // Without a change ticks come in this order.
        if (first !== undefined && before === after) return first;
      }
    }
    return first;
  }

  /** The times at which the clocks show this and the schedule ticks: none, one or two (2). */
  #instants(clockMs: number, before: number, after: number, changeMs: number): readonly number[] {
    const early = clockMs - before;
    if (before === after) return [early];
    const late = clockMs - after;
    if (early < changeMs) return late >= changeMs && this.#byElapsed ? [early, late] : [early];
    if (late >= changeMs) return [late];
    return this.#byElapsed ? [] : [early];
  }
}

/** The first whole minute of the new offset. */
function changeBetween(offset: Offset, lowMs: number, highMs: number, before: number): number {
  let low = Math.floor(lowMs / minuteMs);
  let high = Math.ceil(highMs / minuteMs);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offset(middle * minuteMs) === before) low = middle;
    else high = middle;
  }
  return high * minuteMs;
}

function offsetOf(timeZone: string): Offset {
  if (timeZone === "UTC") return () => 0;
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone,
      calendar: "gregory",
      numberingSystem: "latn",
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
    });
  } catch (error) {
    throw new HoldfastError("invalid", `time zone "${timeZone}" is not known here; use a name such as Europe/Berlin`, {
      cause: error,
    });
  }
  return (timeMs) => {
    const wholeMs = Math.floor(timeMs / minuteMs) * minuteMs;
    const parts = new Map(format.formatToParts(wholeMs).map(({ type, value }) => [type, Number(value)]));
    const part = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? 0;
    const days = daysTo(part("year"), part("month"), part("day"));
    return days * dayMs + part("hour") * hourMs + part("minute") * minuteMs - wholeMs;
  };
}

/** Days from 1970 to a date, and back: years begin in March here, so that a leap day is a year's last. */
function daysTo(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  return (
    era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468
  );
}

function dateOf(days: number): { readonly month: number; readonly day: number } {
  const shifted = days + 719_468;
  const dayOfEra = shifted - Math.floor(shifted / 146_097) * 146_097;
  const leapDays = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const year = Math.floor((dayOfEra - leapDays) / 365);
  const dayOfYear = dayOfEra - (365 * year + Math.floor(year / 4) - Math.floor(year / 100));
  const month = Math.floor((5 * dayOfYear + 2) / 153);
  return { month: month < 10 ? month + 3 : month - 9, day: dayOfYear - Math.floor((153 * month + 2) / 5) + 1 };
}

/** The values of a field in their order. */
function parseField(text: string, field: Field, part: string): number[] {
  const values = new Set<number>();
  for (const item of part.split(",")) {
    const match = /^(?:(\*)|(\w+)(?:-(\w+))?)(?:\/(\d{1,4}))?$/.exec(item);
    if (match === null) throw problem(text, `has "${item}" for the ${field.name}`);
    const [, all, from, to, by] = match;
    const first = all === undefined ? parseValue(text, field, from ?? "") : field.first;
    const open = all !== undefined || (to === undefined && by !== undefined);
    const last = open ? lastOf(field) : parseValue(text, field, to ?? from ?? "");
    const step = by === undefined ? 1 : Number(by);
    if (step < 1) throw problem(text, `has a step of ${step} for the ${field.name}; the least is 1`);
    if (last < first) throw problem(text, `has "${item}" for the ${field.name}, which ends before it begins`);
    for (let value = first; value <= last; value += step) values.add(value);
  }
  return [...values].toSorted((a, b) => a - b);
}

/** Sunday counts once where a range is open: as 0. */
function lastOf(field: Field): number {
  return field === weekdayField ? 6 : field.last;
}

function parseValue(text: string, field: Field, word: string): number {
  const named = field.names.indexOf(word);
  if (named >= 0) return field.first + named;
  const value = /^\d{1,2}$/.test(word) ? Number(word) : Number.NaN;
  if (value >= field.first && value <= field.last) return value;
  throw problem(text, `has "${word}" for the ${field.name}; use ${field.first} to ${field.last}`);
}

function problem(text: string, what: string): HoldfastError {
  return new HoldfastError("invalid", `schedule "${text}" ${what}`);
}

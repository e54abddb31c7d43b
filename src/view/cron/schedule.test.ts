/** The ticks of cron schedules: tables of times, clocks that go forward and back, what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Schedule } from "./schedule.ts";

const at = (text: string) => Date.parse(text);
const ticks = (schedule: Schedule, after: string, count: number) => {
  const found: string[] = [];
  for (let time = at(after); found.length < count;) {
    time = schedule.next(time);
    found.push(new Date(time).toISOString().slice(0, 16));
  }
  return found;
};

const table: readonly (readonly [schedule: string, zone: string, after: string, ticks: string])[] = [
  ["* * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01 2026-01-01T00:02"],
  ["* * * * *", "UTC", "2026-01-01T00:00:59.999Z", "2026-01-01T00:01"],
  ["*/20 * * * *", "UTC", "2026-12-31T23:30:00Z", "2026-12-31T23:40 2027-01-01T00:00 2027-01-01T00:20"],
  ["50/5 3 * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T03:50 2026-01-01T03:55 2026-01-02T03:50"],
  ["0 9-17/4 * * MON-fri", "UTC", "2026-11-20T14:00:00Z", "2026-11-20T17:00 2026-11-23T09:00"],
  ["0 0 * * 5-7", "UTC", "2026-11-20T00:00:00Z", "2026-11-21T00:00 2026-11-22T00:00 2026-11-27T00:00"],
  ["0 0 13 * 5", "UTC", "2026-11-01T00:00:00Z", "2026-11-06T00:00 2026-11-13T00:00 2026-11-20T00:00"],
  ["0 0 */13 * 5", "UTC", "2026-11-01T00:00:00Z", "2026-11-27T00:00 2027-01-01T00:00"],
  ["0 0 29 feb *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00"],
  ["0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", "2026-03-31T00:00 2026-05-31T00:00"],
  ["1,3,2 0 1 jan,jul *", "UTC", "2026-01-01T00:01:00Z", "2026-01-01T00:02 2026-01-01T00:03 2026-07-01T00:01"],
  [" @hourly ", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T01:00"],
  ["@weekly", "UTC", "2026-11-24T00:00:00Z", "2026-11-29T00:00"],
  ["@monthly", "UTC", "2026-11-24T00:00:00Z", "2026-12-01T00:00"],
  ["@yearly", "UTC", "2026-11-24T00:00:00Z", "2027-01-01T00:00"],
  ["0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T03:30"],
  ["@daily", "Pacific/Kiritimati", "2026-01-01T00:00:00Z", "2026-01-01T10:00"],
  // The clocks of Berlin go from 2:00 to 3:00 at 1:00 UTC.
  ["30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-28T01:30 2026-03-29T01:30 2026-03-30T00:30"],
  ["30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T00:30 2026-03-29T01:30 2026-03-29T02:30"],
  // And from 3:00 to 2:00 at 1:00 UTC.
  ["30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30 2026-10-26T01:30"],
  ["30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30 2026-10-25T01:30 2026-10-25T02:30"],
  // Midnight is left out in Beirut, and half an hour comes twice on Lord Howe Island.
  ["@daily", "Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-28T22:00 2026-03-29T21:00"],
  ["45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-04T14:45 2026-04-05T15:15"],
];

for (const [text, zone, after, expected] of table) {
  test(`"${text}" in ${zone} after ${after}`, () => {
    const wanted = expected.split(" ");
    assert.deepEqual(ticks(new Schedule(text, zone), after, wanted.length), wanted);
  });
}

test("what is no schedule is refused, and the text says which part", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["", /five fields/],
    ["* * * *", /five fields/],
    ["* * * * * *", /five fields/],
    ["@often", /five fields/],
    ["60 * * * *", /"60" for the minute; use 0 to 59/],
    ["* 24 * * *", /hour/],
    ["* * 0 * *", /day of the month/],
    ["* * * 13 *", /month/],
    ["* * * * 8", /day of the week/],
    ["* * * mon *", /"mon" for the month/],
    ["*/0 * * * *", /step of 0/],
    ["5-3 * * * *", /ends before it begins/],
    ["1,,2 * * * *", /"" for the minute/],
    ["-1 * * * *", /"-1" for the minute/],
    ["1e1 * * * *", /"1e1"/],
    ["0 0 30 2 *", /never ticks/],
    [`${"1,".repeat(200)}1 * * * *`, /limit is 256/],
  ];
  for (const [text, message] of refused) {
    assert.throws(() => new Schedule(text), { code: "invalid", message });
  }
  assert.throws(() => new Schedule("@daily", "Mars/Base"), { code: "invalid", message: /Mars\/Base/ });
});

/** The values of a field, or all of them. */
type Values = "*" | number[];

const field = (first: number, last: number): fc.Arbitrary<Values> =>
  fc.oneof(
    fc.constant("*" as const),
    fc.uniqueArray(fc.integer({ min: first, max: last }), { minLength: 1, maxLength: 6 }),
  );
const fits = (values: Values, value: number) => values === "*" || values.includes(value);

test("the next tick is the first minute whose clock fits, in a walk minute by minute", () => {
  const start = at("2026-01-01T00:00:00Z");
  fc.assert(
    fc.property(field(0, 59), field(0, 23), field(0, 6), fc.integer({ min: 0, max: 600_000 }), (m, h, d, minutes) => {
      const after = start + minutes * 60_000;
      let slow = after;
      for (;;) {
        slow += 60_000;
        const date = new Date(slow);
        if (fits(m, date.getUTCMinutes()) && fits(h, date.getUTCHours()) && fits(d, date.getUTCDay())) break;
      }
      assert.equal(new Schedule(`${String(m)} ${String(h)} * * ${String(d)}`).next(after), slow);
    }),
    { numRuns: 100 },
  );
});

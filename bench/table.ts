/** Medians, their spread, and the rows of the tables that the bench prints. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return {
    median: sorted[Math.floor(sorted.length / 2)] ?? Number.NaN,
    min: sorted[0] ?? Number.NaN,
    max: sorted.at(-1) ?? Number.NaN,
  };
}

export const figure = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(3).replace(/\.?0+$/, "");

export const spreadText = ({ median, min, max }: Spread): string => `${figure(median)} (${figure(min)}–${figure(max)})`;

export const timesText = (ratio: number): string => (Number.isNaN(ratio) ? "–" : `${figure(ratio)}×`);

export function row(...cells: readonly string[]): void {
  console.log(`| ${cells.join(" | ")} |`);
}

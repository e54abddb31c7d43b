/** How a simulated network behaves; every member may be changed while the simulation runs. */
export interface NetworkSettings {
  /** One way, least and most, in milliseconds. */
  latencyMs: readonly [number, number];
  /** Probability that a piece takes twenty times as long. */
  spikeChance: number;
  /** Bytes per millisecond of one connection. */
  bandwidth: number;
  /** Probability that a connection breaks, for every piece that it carries. */
  cutChance: number;
  /** Probability that a piece is a random part of what could be sent at once. */
  splitChance: number;
  /** Bytes that may be on the way or unread at the other end, least and most; chosen for each end of a connection. */
  windowSize: readonly [number, number];
  /** After so long without an answer `connect` fails with `unavailable`. */
  connectTimeoutMs: number;
}

export const defaultNetworkSettings: Readonly<NetworkSettings> = {
  latencyMs: [0.05, 1],
  spikeChance: 0.005,
  bandwidth: 100_000,
  cutChance: 0,
  splitChance: 0.3,
  windowSize: [16_384, 262_144],
  connectTimeoutMs: 10_000,
};

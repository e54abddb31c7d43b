/**
 * What happens in the demo, in order: the leader is killed and comes back, the next leader is cut off from the others and
 * healed, a member is lost with its directory and replaced. Clients work all the time.
 */
import { durationText } from "../output.ts";
import type { DemoCluster } from "./cluster.ts";
import type { Load } from "./load.ts";
import { pass, until } from "./until.ts";

/** One fault, and how long clients waited for it. */
export interface Act {
  readonly what: string;
  readonly pauseMs: number;
}

export const founders = ["a", "b", "c"];
export const newcomer = "d";

export interface ScriptOptions {
  /** How long the clients work undisturbed, all quiet times together; milliseconds. */
  readonly quietMs: number;
  readonly signal: AbortSignal;
  /** Tells the person who watches. */
  readonly say: (text: string) => void;
}

/** Plays it all, and gives what was done with what it cost. */
export async function play(cluster: DemoCluster, load: Load, { quietMs, signal, say }: ScriptOptions): Promise<Act[]> {
  const acts: Act[] = [];
  const quiet = () => pass(quietMs / 6, signal);
  // From the fault until there is a leader and every client goes on, and a moment more: who stalls later belongs to it too.
  const measured = async (what: string, fault: () => Promise<void> | void) => {
    load.takePauseMs();
    await fault();
    say(what);
    await cluster.leader();
    const momentMs = performance.now();
    await until("the clients do not go on", () => load.hasGoneOnSince(momentMs), signal);
    await quiet();
    const pauseMs = load.takePauseMs();
    acts.push({ what, pauseMs });
    say(`clients went on; the longest waited ${durationText(pauseMs)}`);
  };

  const first = await cluster.leader();
  say(`${first} leads; clients put, count, read and watch`);
  await quiet();

  await measured(`${first}, the leader, was killed with SIGKILL`, () => cluster.kill(first));
  const second = await cluster.leader();
  say(`${second} leads now`);
  await measured(`${first} was started again`, () => cluster.restart(first));
  await cluster.caughtUp(first);
  say(`${first} has caught up`);

  const third = await cluster.leader();
  await measured(`${third}, the leader, was cut off from the other members`, () => cluster.cut(third));
  const fourth = await cluster.leader();
  say(`${fourth} leads now; ${third} still runs, and hears nobody`);
  await measured(`the network of ${third} was healed`, () => cluster.heal(third));
  await cluster.caughtUp(third);
  say(`${third} has caught up`);

  const leader = await cluster.leader();
  const lost = founders.find((name) => name !== leader) ?? leader;
  const known = founders.filter((name) => name !== lost);
  await measured(`${lost} was killed, and its directory is lost`, () => cluster.lose(lost));
  say(`${newcomer} joins with an empty directory, in place of ${lost}`);
  await measured(`${newcomer} took the place of ${lost}`, () => cluster.replace(lost, newcomer, known));
  await cluster.caughtUp(newcomer);
  return acts;
}

/** What the conformance suite of the log needs of an engine. */
import type { LogEngine } from "./engine.ts";

export interface LogFixture {
  /** An empty log; of a log with several members, any of them while a majority is there. */
  readonly engine: LogEngine;
  /** Closes the engine and opens the same log again; undefined when it does not outlive its engine. */
  readonly reopen?: () => Promise<LogEngine>;
  /** Seals the engine; undefined when this kind is sealed by a record only. */
  readonly seal?: () => void;
  /** A chain: its own seal lies within it. */
  readonly isChain?: boolean;
  /** Drives the world until the promise settles. */
  run<T>(promise: Promise<T>): Promise<T>;
  cleanUp(): Promise<void>;
}

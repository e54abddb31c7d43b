/**
 * The engines that a chain has opened to move to, until it is known whether it has moved: by their successor. Of a move whose
 * outcome nobody knows the engine is kept, since the log may go on there.
 */
import type { LogEngine } from "./engine.ts";
import { successorKey } from "./successor.ts";
import type { Successor } from "./successor.ts";

export interface PreparedParts {
  /** Opens an engine that is empty. */
  readonly open: (successor: Successor) => Promise<LogEngine>;
  /** Whether the chain is in an engine, or goes on there. */
  readonly isInUse: (successor: Successor) => boolean;
  readonly remove: ((successor: Successor) => Promise<void>) | undefined;
  readonly onTrouble: ((what: string, error: unknown) => void) | undefined;
}

export class PreparedEngines {
  readonly #parts: PreparedParts;
  readonly #engines = new Map<string, LogEngine>();

  constructor(parts: PreparedParts) {
    this.#parts = parts;
  }

  /** The one that an earlier try has left, or a new one. */
  async open(successor: Successor): Promise<LogEngine> {
    return this.kept(successor) ?? (await this.#parts.open(successor));
  }

  kept(successor: Successor): LogEngine | undefined {
    return this.#engines.get(successorKey(successor));
  }

  keep(engine: LogEngine, successor: Successor): void {
    this.#engines.set(successorKey(successor), engine);
  }

  /** It is the chain's now, or of no use. */
  forget(successor: Successor): void {
    this.#engines.delete(successorKey(successor));
  }

  async discardKept(successor: Successor): Promise<void> {
    const engine = this.kept(successor);
    this.forget(successor);
    if (engine !== undefined) await this.discard(engine, successor);
  }

  async discard(engine: LogEngine, successor: Successor): Promise<void> {
    try {
      await engine.close();
      // Of two moves to the same place one has won, and it is in use.
      if (!this.#parts.isInUse(successor)) await this.#parts.remove?.(successor);
    } catch (error) {
      this.#parts.onTrouble?.("what a move that did not happen has left could not be removed", error);
    }
  }

  async close(): Promise<void> {
    for (const engine of this.#engines.values()) await engine.close();
    this.#engines.clear();
  }
}

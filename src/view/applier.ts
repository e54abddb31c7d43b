/**
 * Applies commands to the tree, one after another: sessions, store time, revisions, and the views' operations, each
 * command as a whole or not at all.
 */
import { HoldfastError, isErrorCode, limits, revision } from "../base/index.ts";
import type { Init, Position, Revision } from "../base/index.ts";
import { PageMissing } from "../tree/index.ts";
import type { TreeEdit } from "../tree/index.ts";
import { EncodedOutcome } from "./command.ts";
import type { CommandOutcome, DecodedCommand } from "./command.ts";
import { SessionOperation, sessionRange, Sessions, sessionViewId } from "./sessions.ts";
import { UndoState } from "./undo-state.ts";
import { Refusal, Work } from "./view.ts";
import type { ApplyContext, View } from "./view.ts";

/** What a view emitted while a command was applied. */
export interface Emission {
  readonly view: View;
  readonly event: unknown;
}

export class Applier implements ApplyContext {
  readonly state: UndoState;
  readonly work = new Work();
  readonly sessions = new Sessions();
  readonly #tree: TreeEdit;
  readonly #views = new Map<number, View>();
  /** The store's revision: that of the last command that changed something. */
  #lastRevision: Revision;
  #timeMs: number;
  #position = 0 as Position;
  #changed = false;
  #emissions: Emission[] = [];
  readonly #onChange: (revision: Revision, emissions: readonly Emission[]) => void;

  constructor(
    tree: TreeEdit,
    views: readonly View[],
    start: { readonly revision: Revision; readonly timeMs: number },
    onChange: (revision: Revision, emissions: readonly Emission[]) => void,
  ) {
    this.#tree = tree;
    this.state = new UndoState(tree);
    for (const view of views) this.#views.set(view.id, view);
    this.#lastRevision = start.revision;
    this.#timeMs = start.timeMs;
    this.#onChange = onChange;
  }

  /** The revision of the command being applied. */
  get revision(): Revision {
    return revision(this.#lastRevision + 1);
  }

  get lastRevision(): Revision {
    return this.#lastRevision;
  }

  get position(): Position {
    return this.#position;
  }

  get timeMs(): number {
    return this.#timeMs;
  }

  get emittedCount(): number {
    return this.#emissions.length;
  }

  changed(): void {
    this.#changed = true;
  }

  emit(view: View, event: unknown): void {
    this.#emissions.push({ view, event });
  }

  /** The keys whose pages the command is likely to touch. */
  touches(command: DecodedCommand, touch: (key: Uint8Array) => void): void {
    for (const { viewId, body } of command.operations) {
      const view = this.#views.get(viewId);
      if (view?.touches === undefined) continue;
      try {
        view.touches(view.operation.decode(body), touch);
      } catch {
        // Whatever is wrong with the operation, `apply` will say it.
      }
    }
  }

  /**
   * Applies a command, or answers what page it needs first, having changed nothing. Throws only when it cannot go on:
   * an operation of a view that this build does not know, or a bug.
   */
  apply(position: Position, command: DecodedCommand): CommandOutcome | PageMissing {
    this.#position = position;
    const before = this.#timeMs;
    if (command.timeMs > before) this.#timeMs = command.timeMs;
    const outcome = this.#apply(position, command);
    if (outcome instanceof PageMissing) this.#timeMs = before;
    return outcome;
  }

  #apply(position: Position, command: DecodedCommand): CommandOutcome | PageMissing {
    if (command.operations.length === 1 && command.operations[0]?.viewId === sessionViewId) {
      return this.#applySession(position, command.operations[0].body);
    }
    if (command.session === 0) return this.#applyOperations(command);
    const admission = this.sessions.admit(command);
    if (admission.kind === "new") return this.#applyOperations(command);
    this.sessions.note(command, this.#timeMs);
    if (admission.kind === "answered") return this.#decodeOutcome(command, admission.outcome);
    return { ok: false, code: admission.code, message: admission.message, sessionRefused: true };
  }

  #applySession(position: Position, body: Uint8Array): CommandOutcome {
    let close: number;
    try {
      ({ close } = SessionOperation.decode(body));
    } catch (error) {
      return { ok: false, code: "invalid", message: (error as Error).message };
    }
    // One more than the position, since 0 stands for no session.
    const session = close === 0 ? position + 1 : close;
    if (close === 0) this.sessions.open(session, this.#timeMs);
    else this.sessions.close(session);
    return { ok: true, revision: this.#lastRevision, results: [{ session }] };
  }

  #applyOperations(command: DecodedCommand): CommandOutcome | PageMissing {
    const results: unknown[] = [];
    this.work.reset();
    try {
      for (let index = 0; index < command.operations.length; index++) {
        const result = this.#applyOperation(command, index);
        if (result instanceof Refusal) {
          this.#rollBack();
          const { code, message, final } = result;
          return this.#finish(command, { ok: false, code, message, ...(final && { final }) });
        }
        results.push(result);
      }
    } catch (error) {
      this.#rollBack();
      if (error instanceof PageMissing) return error;
      throw error;
    }
    this.state.commit();
    if (this.#changed) this.#lastRevision = revision(this.#lastRevision + 1);
    this.#changed = false;
    const emissions = this.#emissions;
    this.#emissions = [];
    const outcome = this.#finish(command, { ok: true, revision: this.#lastRevision, results });
    if (emissions.length > 0) this.#onChange(this.#lastRevision, emissions);
    return outcome;
  }

  /**
   * A session remembers every outcome, also of a command that changed nothing: the same command may stand in the log a
   * second time, and must not then do what it did not do when its proposer was answered.
   */
  #finish(command: DecodedCommand, outcome: CommandOutcome): CommandOutcome {
    this.sessions.note(command, this.#timeMs);
    if (command.session === 0) return outcome;
    this.sessions.remember(command.session, command.sequence, this.#encodeOutcome(command, outcome));
    return outcome;
  }

  #applyOperation(command: DecodedCommand, index: number): unknown {
    const { viewId, body } = command.operations[index] as DecodedCommand["operations"][0];
    const view = this.#viewOf(viewId);
    let decoded: never;
    try {
      decoded = view.operation.decode(body);
    } catch (error) {
      return new Refusal("invalid", `operation ${index} of view ${view.name}: ${(error as Error).message}`);
    }
    return view.apply(this, decoded);
  }

  #viewOf(id: number): View {
    const view = this.#views.get(id);
    if (view !== undefined) return view;
    // To pass over it would make this replica different from those that know the view.
    throw new HoldfastError(
      "unavailable",
      `the log holds an operation of view ${id} at position ${this.#position}, which this version does not know; use a newer one`,
    );
  }

  #rollBack(): void {
    this.state.undo();
    this.#changed = false;
    this.#emissions = [];
  }

  #encodeOutcome(command: DecodedCommand, outcome: CommandOutcome): Uint8Array {
    const views = command.operations.map(({ viewId }) => this.#viewOf(viewId));
    const encoded = EncodedOutcome.encode(toEncodedOutcome(views, outcome));
    if (encoded.length <= limits.sessionAnswerSizeMax) return encoded;
    const message = `the command was applied, at revision ${this.#lastRevision}, but its answer of ${encoded.length} bytes was not kept for a retry; the limit is ${limits.sessionAnswerSizeMax} (limits.sessionAnswerSizeMax): read again what it did`;
    return EncodedOutcome.encode({ code: "exhausted", message, maybe: true });
  }

  #decodeOutcome(command: DecodedCommand, encoded: Uint8Array): CommandOutcome {
    const views = command.operations.map(({ viewId }) => this.#viewOf(viewId));
    try {
      return fromEncodedOutcome(views, EncodedOutcome.decode(encoded));
    } catch {
      const { session, sequence } = command;
      const message = `session ${session} has used sequence ${sequence} for another command; count up with each`;
      return { ok: false, code: "invalid", message, sessionRefused: true };
    }
  }

  /**
   * Writes the sessions to the tree where it lacks them, so that it is the whole state. What it needs first is thrown as
   * `PageMissing`; call it again then.
   */
  materialise(): void {
    this.sessions.drain((key, value) => {
      if (value === undefined) this.#tree.remove(key);
      else this.#tree.set(key, value);
    });
  }

  /** Reads the sessions from the tree, at the start. */
  async restore(): Promise<void> {
    const snapshot = this.#tree.freeze();
    for await (const batch of snapshot.entries(sessionRange)) {
      for (const { key, value } of batch) this.sessions.load(key, value);
    }
    snapshot.release();
  }
}

/** An outcome as its message; `views` are those of the command's operations, in their order. */
export function toEncodedOutcome(
  views: readonly Pick<View, "result">[],
  outcome: CommandOutcome,
): Init<typeof EncodedOutcome> {
  if (!outcome.ok) return outcome;
  const results = outcome.results.map((result, index) => (views[index] as View).result.encode(result));
  return { revision: outcome.revision, results };
}

/** The inverse; `corrupt` when the outcome has a code or results that this version does not know. */
export function fromEncodedOutcome(views: readonly Pick<View, "result">[], encoded: EncodedOutcome): CommandOutcome {
  const { code, message, sessionRefused, maybe, final } = encoded;
  if (code !== "") {
    if (!isErrorCode(code)) throw new HoldfastError("corrupt", `a command was refused with the unknown code ${code}`);
    const flags = { ...(sessionRefused && { sessionRefused }), ...(maybe && { maybe }), ...(final && { final }) };
    return { ok: false, code, message, ...flags };
  }
  if (encoded.results.length !== views.length) {
    throw new HoldfastError(
      "corrupt",
      `a command of ${views.length} operations was answered with ${encoded.results.length} results`,
    );
  }
  const results = encoded.results.map((result, index) => (views[index] as View).result.decode(result));
  return { ok: true, revision: revision(encoded.revision), results };
}

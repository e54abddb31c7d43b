/** The asked views inside an optimistic transaction: reads of one revision, and operations for its command. */
import { HoldfastError } from "../base/index.ts";
import type { Infer, Revision } from "../base/index.ts";
import { operation } from "./command.ts";
import type { Operation } from "./command.ts";
import type { GuardView, GuardOperation } from "./guard-view.ts";
import type { View } from "./view.ts";
import type { Questioned, ViewSource } from "./view-source.ts";

type Check = Infer<typeof GuardOperation>["checks"][number];

export class ViewTransaction {
  readonly #source: ViewSource;
  readonly #guard: GuardView;
  readonly #signal: AbortSignal | undefined;
  readonly #checks: Check[] = [];
  readonly #writes: Operation[] = [];
  readonly #objects = new Map<string, unknown>();
  /** Runs before the command is made: what only then is known is written. */
  readonly #finishing: (() => void)[] = [];
  #over = false;
  #outdated: HoldfastError | undefined;
  readonly revision: Revision;

  constructor(source: ViewSource, guard: GuardView, revision: Revision, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#guard = guard;
    this.revision = revision;
    this.#signal = signal;
  }

  checkOpen(): void {
    if (this.#over)
      throw new HoldfastError("invalid", "the transaction is over; use what it gave inside its function only");
  }

  /** The transaction's own object of a view, one for each name. */
  object<T>(view: Pick<View, "id">, name: string, make: () => T): T {
    const key = `${view.id} ${name}`;
    const object = (this.#objects.get(key) as T | undefined) ?? make();
    this.#objects.set(key, object);
    return object;
  }

  /**
   * The answer at the transaction's revision, which must still be so when it commits. Where it has changed since, the
   * transaction begins anew at a later revision.
   */
  async read<Query, Answer>(view: Questioned<Query, Answer>, query: NoInfer<Query>): Promise<Answer> {
    this.checkOpen();
    const { revision } = this;
    const options = { consistency: "local", atLeast: revision, since: revision, signal: this.#signal } as const;
    const { answer, unchanged } = await this.#source.ask(view, query, options);
    if (!unchanged) {
      this.#outdated ??= new HoldfastError(
        "conflict",
        `what was asked of a ${view.name} has changed since revision ${revision}`,
      );
      throw this.#outdated;
    }
    this.#checks.push({ viewId: view.id, query: view.query.encode(query), revision });
    return answer;
  }

  write<Body, Result>(view: View<Body, Result>, body: Body): void {
    this.checkOpen();
    this.#writes.push(operation(view, body));
  }

  /** `write` for what is known only when the function has returned: called then, once. */
  onFinish(finishing: () => void): void {
    this.#finishing.push(finishing);
  }

  finish(): { readonly checks: readonly Operation[]; readonly writes: readonly Operation[] } {
    for (const finishing of this.#finishing) finishing();
    this.#over = true;
    const checks = this.#checks.length === 0 ? [] : [operation(this.#guard, { checks: this.#checks })];
    return { checks, writes: this.#writes };
  }

  abandon(): void {
    this.#over = true;
  }

  /** Whether an error says that what it read is no longer of its revision. */
  outdated(error: unknown): boolean {
    return error === this.#outdated;
  }
}

/** A queue inside a transaction. */
import { checkedName } from "../value.ts";
import type { ViewTransaction } from "../view-transaction.ts";
import { pushBody } from "./push.ts";
import type { DeliveredJob, PushOptions } from "./push.ts";
import type { QueueView } from "./queue-view.ts";

export class QueueInTransaction {
  readonly #tx: ViewTransaction;
  readonly #view: QueueView;
  readonly #name: string;

  /** @internal */
  constructor(tx: ViewTransaction, view: QueueView, name: string) {
    this.#tx = tx;
    this.#view = view;
    this.#name = checkedName(name, "queue");
  }

  /** Pushed if the transaction commits. */
  push(value: unknown, options: Omit<PushOptions, "signal"> = {}): void {
    this.#tx.write(this.#view, { operation: { case: "push", value: pushBody(this.#name, [{ value, ...options }]) } });
  }

  /** The job ends with the transaction, or, when it is somebody else's already, the transaction is refused: `conflict`. */
  ack({ id, attempt, lease }: DeliveredJob): void {
    const value = { name: this.#name, deliveries: [{ id, attempt, lease }] };
    this.#tx.write(this.#view, { operation: { case: "ack", value } });
  }
}

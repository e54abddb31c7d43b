/** A stream inside a transaction. */
import { checkedName, encodeValue } from "../value.ts";
import type { ViewTransaction } from "../view-transaction.ts";
import type { StreamView } from "./stream-view.ts";

export class StreamInTransaction {
  readonly #tx: ViewTransaction;
  readonly #view: StreamView;
  readonly #name: string;

  /** @internal */
  constructor(tx: ViewTransaction, view: StreamView, name: string) {
    this.#tx = tx;
    this.#view = view;
    this.#name = checkedName(name, "stream");
  }

  /** Appended if the transaction commits: to several streams, to all of them or none. */
  append(...values: readonly unknown[]): void {
    const encoded = values.map((value) => encodeValue(value, "an entry"));
    const value = { name: this.#name, values: encoded, expectedTail: undefined };
    this.#tx.write(this.#view, { operation: { case: "append", value } });
  }

  /** One past the last entry, without what this transaction appends. Must still be so when it commits. */
  async tail(): Promise<number> {
    const query = { query: { case: "info", value: { name: this.#name, group: "" } } } as const;
    return (await this.#tx.read(this.#view, query)).stream?.tail ?? 0;
  }

  /** How far a group is. Must still be so when it commits. */
  async position(group: string): Promise<number> {
    const query = { query: { case: "info", value: { name: this.#name, group: checkedName(group, "group") } } } as const;
    return (await this.#tx.read(this.#view, query)).group?.position ?? 0;
  }

  /** Notes how far a group is: with the effects of what it has read, so that they happen once. */
  commit(group: string, position: number): void {
    const value = { name: this.#name, group: checkedName(group, "group"), position, expected: undefined };
    this.#tx.write(this.#view, { operation: { case: "commit", value } });
  }
}

/** What a checker throws: something happened that must not. The message stands by itself and goes on over many lines. */
export class Violation extends Error {
  override readonly name = "Violation";
  /** Which checker it was. */
  readonly checker: string;

  constructor(checker: string, message: string) {
    super(`${checker}: ${message}`);
    this.checker = checker;
  }
}

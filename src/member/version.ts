/** The version of this package; a test compares it with package.json, which a pure layer cannot read. */
export const version = "0.1.0";

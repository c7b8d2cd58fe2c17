// Restore: a bad picture, what is wrong with it, and the fit that mends it.

import { Compose, tasksOf } from "./compose.js";

/** The view of the restoring tasks. */
export class Restore extends Compose {
  constructor(signal) {
    super("restore", tasksOf("restore"), signal);
  }
}

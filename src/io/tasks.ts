import type { BatchTask } from './types.js';

/** Tasks run in one go; more are left to the next, so that tasks that schedule tasks starve nobody. */
const RUNS_MAX = 65536;

/** Work gathered in a turn. A task scheduled twice before it runs, runs once. */
export class TaskQueue {
  private readonly scheduled = new Set<BatchTask>();
  private list: BatchTask[] = [];
  private at = 0;

  get pending(): boolean {
    return this.at < this.list.length;
  }

  add(task: BatchTask): void {
    if (this.scheduled.has(task)) return;
    this.scheduled.add(task);
    this.list.push(task);
  }

  /** As `add`, for tasks that know themselves whether they are scheduled. */
  addUnchecked(task: BatchTask): void {
    this.list.push(task);
  }

  /** Runs tasks, also those that they add, until none is left. One that throws is not run again. */
  run(): void {
    const list = this.list;
    let runs = 0;
    while (this.at < list.length && runs++ < RUNS_MAX) {
      const task = list[this.at++]!;
      this.scheduled.delete(task);
      task.runBatch();
    }
    if (this.at === list.length) list.length = 0;
    else this.list = list.slice(this.at);
    this.at = 0;
  }
}

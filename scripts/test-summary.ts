/**
 * Reads vitest's JSON report and prints `N passed, N failed, N skipped` as the last line.
 * `test-summary.ts REPORT [--no-skips]`: with --no-skips a skipped test fails, except long ones, which have
 * the word "long" in their name and run with RAWSTOR_TEST_LONG=1. Exits 1 on any failure, or when nothing passed.
 */
import { readFileSync } from 'node:fs';

interface Report {
  testResults: {
    name: string;
    status: string;
    message: string;
    assertionResults: { fullName: string; status: string }[];
  }[];
}

const [reportPath, ...options] = process.argv.slice(2);
let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const report = JSON.parse(readFileSync(reportPath!, 'utf8')) as Report;
  for (const file of report.testResults) {
    // A file that did not load has no tests to count: it counts as one itself.
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')) failed++;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed++;
      else if (test.status === 'failed') failed++;
      else if (options.includes('--no-skips') && !/\blong\b/i.test(test.fullName)) {
        console.log(`skipped, which is not allowed here: ${file.name}: ${test.fullName}`);
        failed++;
      } else skipped++;
    }
  }
} catch (error) {
  console.log(`no report of the tests: ${(error as Error).message}`);
  failed++;
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;

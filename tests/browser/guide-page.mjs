// A page of the tutorial in a real browser. Ends once the page says that the batch is done.
//
//   node tests/browser/guide-page.mjs http://localhost:3000/page.html?batch=b-7
//
// CHROMIUM   the browser (default /usr/bin/chromium)

import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(String(error)));
  // Its favicon is missing, and is no one's fault.
  page.on("console", (message) => message.location().url.endsWith("/favicon.ico") || console.error(message.text()));
  await page.goto(process.argv[2]);
  await page.getByText(/^(COMPLETED|All \d+ photos done)$/).first().waitFor();
} finally {
  await browser.close();
}

// Installs what package.json names, exactly as the lock file has it, into a folder of its own.
// Nothing goes into the checkout, and no package's install script runs. The lock file is made by
// `npm install --package-lock-only --omit-lockfile-registry-resolved`; licences, engines and sponsors
// are taken out of it, so that it has no address.
"use strict";

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const { createRequire } = require("node:module");
const path = require("node:path");

const MINUTES = 60_000;

/**
 * Installs into a folder, unless the same lock file was installed there already.
 * @param {string} folder Where to; made when it is not there.
 * @returns {NodeRequire} `require` as seen from that folder.
 */
function install(folder) {
  fs.mkdirSync(folder, { recursive: true });
  const done = path.join(folder, "installed.json");
  const lock = fs.readFileSync(path.join(__dirname, "package-lock.json"));
  if (!fs.existsSync(done) || !fs.readFileSync(done).equals(lock)) {
    fs.rmSync(done, { force: true });
    for (const name of ["package.json", "package-lock.json"]) {
      fs.copyFileSync(path.join(__dirname, name), path.join(folder, name));
    }
    const arguments_ = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    const npm = spawnSync("npm", arguments_, { cwd: folder, stdio: "inherit", timeout: 10 * MINUTES });
    if (npm.status !== 0) {
      throw new Error(`npm ci in ${folder} failed (${npm.error ?? `exit code ${npm.status}`})`);
    }
    fs.writeFileSync(done, lock);
  }
  return createRequire(path.join(folder, "package.json"));
}

module.exports = { install };

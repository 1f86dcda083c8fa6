// What everything here is built with, from one place.
export {
  html, render, createContext, useContext, useEffect, useLayoutEffect, useErrorBoundary, useMemo, useRef, useState,
} from "../vendor/htm/standalone.module.js";
